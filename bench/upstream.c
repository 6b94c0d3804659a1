/* This file is the fake upstream: it replays prepared answers over HTTP/1.1, one thread, epoll.
 *
 *   upstream PORT ANSWER...
 *
 * An ANSWER is a file named <last part of the path>.<model>, as in completions.burst: a POST to /v1/chat/completions
 * for the model "burst" or "any/burst" gets it. Nothing here knows a dialect. Its content is
 *
 *   <content type> <milliseconds between pieces>\n  and, for each piece,  <length>\n<bytes>
 *
 * A single piece is sent with its Content-Length; several are sent as one HTTP chunk each: all in one write, or one
 * by one where there are milliseconds between. Stamps are filled in as each piece is sent.
 */
#define _GNU_SOURCE
#include "wire.h"

enum { MAX_ANSWERS = 64 };

typedef struct {
    const char *name;
    Buffer head, *chunks;
    int chunk_count;
    uint64_t pause_us;
} Answer;

typedef struct Connection {
    int socket, next_chunk, watches_writing;
    Buffer received, unsent;
    const Answer *answer; /* the one being sent, or none */
    uint64_t due_us;
    struct Connection *previous, *next; /* among those that wait for their time */
} Connection;

static Answer answers[MAX_ANSWERS];
static int answer_count, epoll;
/* Ring of waiting connections, by time. Pauses are alike, so a place is found within a few steps from the end. */
static Connection waiting = {.previous = &waiting, .next = &waiting};

static void load_answer(const char *path) {
    if (answer_count == MAX_ANSWERS) exit(2);
    Answer *answer = &answers[answer_count++];
    const char *slash = strrchr(path, '/');
    answer->name = slash ? slash + 1 : path;
    Buffer file = read_file(path);
    append(&file, "", 1);
    char type[64], *at = file.bytes, *end = file.bytes + file.length - 1;
    unsigned long pause_ms;
    if (sscanf(at, "%63s %lu", type, &pause_ms) != 2) exit(2);
    answer->pause_us = pause_ms * 1000;
    at = strchr(at, '\n') + 1;
    while (at < end) {
        size_t length = strtoul(at, &at, 10);
        answer->chunks = realloc(answer->chunks, (answer->chunk_count + 1) * sizeof(Buffer));
        Buffer *chunk = &answer->chunks[answer->chunk_count++];
        *chunk = (Buffer){0};
        append(chunk, at + 1, length);
        at += 1 + length;
    }
    append_text(&answer->head, "HTTP/1.1 200 OK\r\nContent-Type: %s\r\n", type);
    if (answer->chunk_count == 1) {
        append_text(&answer->head, "Content-Length: %zu\r\n\r\n", answer->chunks[0].length);
        return;
    }
    append_text(&answer->head, "Transfer-Encoding: chunked\r\n\r\n");
    for (int i = 0; i < answer->chunk_count; i++) {
        Buffer framed = {0}, *chunk = &answer->chunks[i];
        append_text(&framed, "%zx\r\n", chunk->length);
        append(&framed, chunk->bytes, chunk->length);
        append_text(&framed, i == answer->chunk_count - 1 ? "\r\n0\r\n\r\n" : "\r\n");
        *chunk = framed;
    }
}

static const Answer *find_answer(const char *path, size_t path_length, const char *model, size_t model_length) {
    const char *slash = memrchr(path, '/', path_length);
    if (slash) path_length -= slash + 1 - path, path = slash + 1;
    slash = memrchr(model, '/', model_length);
    if (slash) model_length -= slash + 1 - model, model = slash + 1;
    for (int i = 0; i < answer_count; i++) {
        const char *name = answers[i].name;
        if (strlen(name) == path_length + 1 + model_length && !memcmp(name, path, path_length) &&
            !memcmp(name + path_length + 1, model, model_length))
            return &answers[i];
    }
    return NULL;
}

static void leave_ring(Connection *connection) {
    if (!connection->next) return;
    connection->previous->next = connection->next;
    connection->next->previous = connection->previous;
    connection->previous = connection->next = NULL;
}

static void enter_ring(Connection *connection) {
    Connection *before = waiting.previous;
    while (before != &waiting && before->due_us > connection->due_us) before = before->previous;
    connection->previous = before;
    connection->next = before->next;
    before->next->previous = connection;
    before->next = connection;
}

static void hang_up(Connection *connection) {
    leave_ring(connection);
    close(connection->socket);
    free(connection->received.bytes);
    free(connection->unsent.bytes);
    free(connection);
}

static int write_unsent(Connection *connection) {
    Buffer *unsent = &connection->unsent;
    ssize_t sent = unsent->length ? send(connection->socket, unsent->bytes, unsent->length, MSG_NOSIGNAL) : 0;
    if (sent < 0 && errno != EAGAIN) return -1;
    if (sent > 0) drop_front(unsent, sent);
    int more = unsent->length > 0;
    if (more != connection->watches_writing) {
        connection->watches_writing = more;
        watch(epoll, EPOLL_CTL_MOD, connection->socket, EPOLLIN | (more ? EPOLLOUT : 0), connection);
    }
    return 0;
}

static void queue_chunk(Connection *connection, const Buffer *chunk) {
    size_t start = connection->unsent.length;
    append(&connection->unsent, chunk->bytes, chunk->length);
    char *stamp = memmem(connection->unsent.bytes + start, chunk->length, STAMP, STAMP_LENGTH);
    char digits[STAMP_LENGTH + 1];
    if (!stamp) return;
    snprintf(digits, sizeof digits, "%016llu", (unsigned long long)now_us());
    memcpy(stamp, digits, STAMP_LENGTH);
}

/* Sends what is due of the answer; a paced one enters the ring again until its last piece. */
static int continue_answer(Connection *connection) {
    const Answer *answer = connection->answer;
    do {
        queue_chunk(connection, &answer->chunks[connection->next_chunk++]);
    } while (!answer->pause_us && connection->next_chunk < answer->chunk_count);
    if (connection->next_chunk < answer->chunk_count) {
        connection->due_us += answer->pause_us;
        enter_ring(connection);
    } else {
        connection->answer = NULL;
    }
    return write_unsent(connection);
}

static int refuse(Connection *connection, const char *why) {
    append_text(&connection->unsent, "HTTP/1.1 400 Bad Request\r\nContent-Length: %zu\r\n\r\n%s", strlen(why), why);
    return write_unsent(connection);
}

/* Answers the next request if all of it is there. */
static int take_request(Connection *connection) {
    Buffer *received = &connection->received;
    char *head_end = received->length ? memmem(received->bytes, received->length, "\r\n\r\n", 4) : NULL;
    if (!head_end || connection->answer) return 0;
    *head_end = 0;
    char method[5] = "";
    memcpy(method, received->bytes, 4);
    char *path = strchr(received->bytes, ' '), *path_end = path ? strpbrk(path + 1, " ?") : NULL;
    char *field = strcasestr(received->bytes, "\r\ncontent-length:");
    size_t body_length = field ? strtoul(field + 17, NULL, 10) : 0, head_length = head_end + 4 - received->bytes;
    int chunked = !field && strcasestr(received->bytes, "\r\ntransfer-encoding: chunked");
    *head_end = '\r';
    if (chunked) { /* no request of the bench holds the last chunk's bytes */
        char *last = memmem(head_end, received->length - (head_end - received->bytes), "\r\n0\r\n\r\n", 7);
        if (!last) return 0;
        body_length = last + 7 - received->bytes - head_length;
    }
    if (received->length < head_length + body_length) return 0;
    const Answer *answer = NULL;
    char *body = received->bytes + head_length, *model = memmem(body, body_length, "\"model\":\"", 9);
    char *model_end = model ? memchr(model + 9, '"', body + body_length - model - 9) : NULL;
    if (path_end && model_end) answer = find_answer(path + 1, path_end - path - 1, model + 9, model_end - model - 9);
    drop_front(received, head_length + body_length);
    if (!strncmp(method, "GET ", 4)) {
        /* Gateways ask for health and models before they send anything. */
        append_text(&connection->unsent, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 27\r\n\r\n");
        append_text(&connection->unsent, "{\"object\":\"list\",\"data\":[]}");
        return write_unsent(connection);
    }
    if (!answer) return refuse(connection, "no such answer");
    connection->answer = answer;
    connection->next_chunk = 0;
    connection->due_us = now_us();
    append(&connection->unsent, answer->head.bytes, answer->head.length);
    return continue_answer(connection);
}

static void accept_all(int listener) {
    for (int socket; (socket = accept(listener, NULL, NULL)) >= 0;) {
        Connection *connection = calloc(1, sizeof *connection);
        connection->socket = socket;
        prepare_socket(socket);
        watch(epoll, EPOLL_CTL_ADD, socket, EPOLLIN, connection);
    }
}

static void serve(Connection *connection, uint32_t events) {
    int failed = events & (EPOLLERR | EPOLLHUP) ? -1 : 0;
    if (!failed && events & EPOLLIN) {
        failed = receive(connection->socket, &connection->received) < 0 ? -1 : take_request(connection);
    }
    if (!failed && events & EPOLLOUT) failed = write_unsent(connection);
    if (failed) hang_up(connection);
}

static int send_what_is_due(void) {
    while (waiting.next != &waiting) {
        Connection *connection = waiting.next;
        int64_t left_us = connection->due_us - now_us();
        if (left_us > 0) return left_us / 1000 + 1;
        leave_ring(connection);
        if (continue_answer(connection) < 0) hang_up(connection);
    }
    return -1;
}

int main(int count, char **arguments) {
    for (int i = 2; i < count; i++) load_answer(arguments[i]);
    int on = 1, listener = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in address = loopback(atoi(arguments[1]));
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) < 0 || listen(listener, 4096) < 0) die("listen");
    fcntl(listener, F_SETFL, O_NONBLOCK);
    epoll = epoll_create1(0);
    watch(epoll, EPOLL_CTL_ADD, listener, EPOLLIN, NULL);
    for (;;) {
        struct epoll_event events[512];
        int ready = epoll_wait(epoll, events, 512, send_what_is_due());
        for (int i = 0; i < ready; i++) {
            if (events[i].data.ptr) serve(events[i].data.ptr, events[i].events);
            else accept_all(listener);
        }
    }
}
