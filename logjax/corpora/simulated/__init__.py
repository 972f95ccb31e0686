"""The simulated corpora: a grammar module each, and the code to write log files from it.

A grammar is data: message kinds with placeholders. `HEADS` has the header of the lines of each
source. A kind is a source and a message; an abnormal kind begins with its alert category. Kinds are
listed by era and falling frequency. The eras are always, early (only the first half of a file) and
late (only the last third).

A placeholder such as {path} is looked up in `STICKY`, drawn once a burst, and then in `SLOTS`. In
`SLOTS` a string is a template with further slots, a tuple a choice that prefers its first entries,
and a range a decimal number. {hex8} is eight hexadecimal digits; any other number of digits works
too. Times such as {clock} are those of the line.
"""
