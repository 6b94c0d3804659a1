/* This file holds what both programs of the bench need: a clock, a growing buffer, an epoll loop's sockets. */
#ifndef WIRE_H
#define WIRE_H

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

/* In place of STAMP the upstream writes the time of sending: CLOCK_MONOTONIC in microseconds, as many digits. */
#define STAMP "################"
#define STAMP_LENGTH 16

typedef struct {
    char *bytes;
    size_t length, room;
} Buffer;

static inline void die(const char *what) {
    perror(what);
    exit(2);
}

static inline uint64_t now_us(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

/* Room for `more` bytes behind the content. */
static inline char *reserve(Buffer *buffer, size_t more) {
    if (buffer->length + more > buffer->room) {
        buffer->room = 2 * (buffer->length + more);
        if (!(buffer->bytes = realloc(buffer->bytes, buffer->room))) die("memory");
    }
    return buffer->bytes + buffer->length;
}

static inline void append(Buffer *buffer, const char *bytes, size_t length) {
    memcpy(reserve(buffer, length), bytes, length);
    buffer->length += length;
}

__attribute__((format(printf, 2, 3))) static inline void append_text(Buffer *buffer, const char *format, ...) {
    va_list values;
    va_start(values, format);
    buffer->length += vsnprintf(reserve(buffer, 512), 512, format, values);
    va_end(values);
}

static inline void drop_front(Buffer *buffer, size_t length) {
    buffer->length -= length;
    memmove(buffer->bytes, buffer->bytes + length, buffer->length);
}

static inline Buffer read_file(const char *path) {
    Buffer content = {0};
    FILE *file = fopen(path, "rb");
    if (!file) die(path);
    size_t got;
    while ((got = fread(reserve(&content, 65536), 1, 65536, file))) content.length += got;
    fclose(file);
    return content;
}

/* Reads what the socket has, up to one buffer of 64 kB. Positive: bytes; 0: nothing now; -1: the peer is gone. */
static inline ssize_t receive(int socket, Buffer *buffer) {
    ssize_t got = recv(socket, reserve(buffer, 65536), 65536, 0);
    if (got > 0) buffer->length += got;
    if (got > 0) return got;
    return got < 0 && (errno == EAGAIN || errno == EINTR) ? 0 : -1;
}

static inline void prepare_socket(int socket) {
    int on = 1;
    setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    fcntl(socket, F_SETFL, O_NONBLOCK);
}

static inline void watch(int epoll, int action, int socket, uint32_t interest, void *owner) {
    struct epoll_event event = {.events = interest, .data.ptr = owner};
    if (epoll_ctl(epoll, action, socket, &event) < 0) die("epoll_ctl");
}

static inline struct sockaddr_in loopback(int port) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return address;
}

#endif
