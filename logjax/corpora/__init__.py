"""From log files to `Logs`: finds, downloads, simulates, reads and parses them."""
