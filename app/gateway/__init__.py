"""This room answers a client's request: route, bypass or translate, send, translate back, count and log.

It knows no HTTP server: a blueprint hands in an `ClientRequest` and writes out an `ClientResponse`.
"""
