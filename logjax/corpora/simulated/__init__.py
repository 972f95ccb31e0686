"""Grammars of the embedded corpora: message kinds with placeholders, one module a corpus.

A grammar is data. `HEADS` maps a source to the header of its lines; a kind is a source and a
message, an abnormal kind is preceded by its alert category. Kinds stand in the order of their
frequency, the most frequent first, under the era of the file in which they occur: always, only
early (the first half) or only late (the last third). A placeholder such as {path} is looked up in
`STICKY` (drawn once a burst), then in `SLOTS`: a string is a template of further slots, a tuple a
choice that leans to its first entries, a range a decimal number. {hex8} is eight hexadecimal
digits, for any number of them; times such as {clock} are those of the line.
"""
