"""The neutral data between dialects: requests, blocks, responses, events and losses. Nothing here does I/O.

Nothing here does I/O, reads a clock or draws a random number, and no dialect is special: what only one of them can
say travels as an `Extension` or an `Opaque` block and is carried, reported or refused at the other end.
"""
