"""The neutral data between dialects: requests, blocks, responses, events and losses.

Nothing here does I/O, reads a clock or draws a random number. No dialect is special: what only one of them can express
travels as an `Extension` or an `Opaque` block and is carried, reported or refused at the other end.
"""
