"""The dialects: each API family's wire format. Nothing here does I/O.

Every dialect is a folder with the same files, all pure. OpenAI's other two count as Chat does, and Chat reads those
blocks of Messages that its clients mix in; no dialect knows more of another:

    vocabulary.py         the wire's words: typed shapes, enum tables, what is lost in other dialects
    request_parser.py     parse_request(body, headers) -> Request
    request_renderer.py   render_request(request, capabilities) -> RenderedRequest
    response_parser.py    parse_response(body) -> Response
    response_renderer.py  render_response(response, context) -> bytes
    stream_parser.py      StreamParser().feed(data) -> events
    stream_renderer.py    StreamRenderer(context).feed(events) -> bytes
    usage.py              find_usage(body) -> Usage
    errors.py             parse_error(status, headers, body) -> Failure    render_error(failure, request_id) -> bytes
    passing_request.py    pass_request(body, capabilities) -> the bytes, if an upstream accepts them
    passing_response.py   pass_response(body, context, capabilities) -> the client's bytes, repaired; and the usage
    passthrough.py        what a stream still needs when both sides speak the same dialect
    traits.py             what the rest of the program must know of the dialect

Code that several of these share is in a sub-folder named for it: content, messages, items.

A parser is tolerant and accepts what servers and clients really send; a renderer emits only what the contract allows.
"""
