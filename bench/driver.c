/* This file is the load driver: it sends one request again and again and checks every answer, one thread, epoll.
 *
 *   driver PORT CONNECTIONS SECONDS REQUEST KEY CLOSING TEXT PIECES PAUSE [PID]
 *
 * REQUEST and TEXT are files: the bytes of the request, and the text that all pieces of an answer make together, with
 * stamps where the upstream writes its clock. KEY stands before each piece of text in the answer's JSON ("content":"),
 * and CLOSING is what the answer must hold exactly once. An empty piece does not count.
 * Every connection repeats the request until SECONDS are over; answers then under way are still waited for. Between an
 * answer and the next request it waits for PAUSE microseconds. With 0 SECONDS each connection asks once, and they start
 * spread over one second. With PID the time of an answer is how long that process, the server's, ran meanwhile: whatever
 * else the machine does is left out, so a busy server with a core for itself would take as long by the clock.
 *
 * Prints one line of JSON: answers, wrong ones, the first complaint, pieces, seconds, and, in microseconds as median,
 * 99th percentile and highest: the time of an answer and, where there are stamps, the delay of a piece from the
 * upstream's write to here.
 */
#define _GNU_SOURCE
#include "wire.h"
#include <dirent.h>
#include <linux/perf_event.h>
#include <sys/syscall.h>

#define MAX_THREADS 64
#define SILENCE_LIMIT_US 20000000

/* What is read next of an answer. */
typedef enum { HEAD, BODY, CHUNK_SIZE, CHUNK, CHUNK_END, LAST_LINE } Part;

typedef struct {
    int socket, pieces, watches_writing;
    Part part;
    size_t part_left, sent, searched, text_at;
    Buffer received, body;
    uint64_t start_us, due_us; /* due: when it asks again, 0 while it waits for an answer */
} Connection;

typedef struct {
    uint32_t *values;
    size_t count, room;
} Samples;

static Buffer request, text;
static const char *key, *closing;
static int epoll, port, pieces_expected, open_connections;
static uint64_t deadline_us, pause_us;
static int thread_clocks[MAX_THREADS], thread_count;
static unsigned long answers, wrong, pieces;
static char complaint[256];
static Samples answer_us, delay_us;

static void add_sample(Samples *samples, uint64_t value) {
    if (samples->count == samples->room) {
        samples->room = samples->room ? 2 * samples->room : 4096;
        if (!(samples->values = realloc(samples->values, samples->room * sizeof(uint32_t)))) die("memory");
    }
    samples->values[samples->count++] = value;
}

/* One clock for each thread of a process. The system's own clock of another process only moves with its timer. */
static void open_clocks(const char *pid) {
    struct perf_event_attr wanted = {.type = PERF_TYPE_SOFTWARE, .size = sizeof wanted, .config = PERF_COUNT_SW_TASK_CLOCK,
                                     .exclude_kernel = 1, .exclude_hv = 1}; /* else it takes more rights */
    char path[64];
    snprintf(path, sizeof path, "/proc/%s/task", pid);
    DIR *threads = opendir(path);
    if (!threads) die("the server's threads");
    for (struct dirent *each; (each = readdir(threads)) && thread_count < MAX_THREADS;) {
        if (*each->d_name == '.') continue;
        int clock = syscall(SYS_perf_event_open, &wanted, atoi(each->d_name), -1, -1, PERF_FLAG_FD_CLOEXEC);
        if (clock < 0) die("the clock of a thread of the server");
        thread_clocks[thread_count++] = clock;
    }
    closedir(threads);
}

/* The time by which answers are measured. */
static uint64_t answer_time_us(void) {
    uint64_t sum = 0, one;
    if (!thread_count) return now_us();
    for (int i = 0; i < thread_count; i++) {
        if (read(thread_clocks[i], &one, sizeof one) != sizeof one) die("the server's clock");
        sum += one;
    }
    return sum / 1000;
}

static void complain(const char *what, const Buffer *about) {
    wrong++;
    if (*complaint) return;
    int shown = about->length < 150 ? about->length : 150;
    snprintf(complaint, sizeof complaint, "%s: %.*s", what, shown, shown ? about->bytes : "");
    for (char *at = complaint; *at; at++) {
        if (*at < ' ' || *at == '"' || *at == '\\') *at = '\'';
    }
}

static void finish(Connection *connection) {
    close(connection->socket);
    connection->socket = -1;
    open_connections--;
}

static int write_request(Connection *connection) {
    const char *unsent = request.bytes + connection->sent;
    ssize_t sent = send(connection->socket, unsent, request.length - connection->sent, MSG_NOSIGNAL);
    if (sent < 0 && errno != EAGAIN) return -1;
    if (sent > 0) connection->sent += sent;
    int more = connection->sent < request.length;
    if (more != connection->watches_writing) {
        connection->watches_writing = more;
        watch(epoll, EPOLL_CTL_MOD, connection->socket, EPOLLIN | (more ? EPOLLOUT : 0), connection);
    }
    return 0;
}

static int ask(Connection *connection) {
    connection->pieces = connection->sent = connection->searched = connection->text_at = connection->body.length = 0;
    connection->part = HEAD;
    connection->start_us = answer_time_us();
    return write_request(connection);
}

static int start(Connection *connection) {
    struct sockaddr_in address = loopback(port);
    connection->socket = socket(AF_INET, SOCK_STREAM, 0);
    if (connect(connection->socket, (struct sockaddr *)&address, sizeof address) < 0) die("connect");
    prepare_socket(connection->socket);
    watch(epoll, EPOLL_CTL_ADD, connection->socket, EPOLLIN, connection);
    open_connections++;
    return ask(connection);
}

/* Whether one piece continues the expected text; the digits of a stamp are any. */
static int check_piece(Connection *connection, const char *piece, size_t length, uint64_t now) {
    uint64_t stamp = 0;
    if (connection->text_at + length > text.length) return -1;
    for (size_t i = 0; i < length; i++) {
        char expected = text.bytes[connection->text_at + i];
        if (expected == *STAMP && piece[i] >= '0' && piece[i] <= '9') stamp = 10 * stamp + piece[i] - '0';
        else if (expected != piece[i]) return -1;
    }
    connection->text_at += length;
    connection->pieces++;
    pieces++;
    if (stamp) add_sample(&delay_us, now - stamp);
    return 0;
}

/* Checks the pieces of text that are whole by now. */
static int check_pieces(Connection *connection) {
    Buffer *body = &connection->body;
    size_t key_length = strlen(key);
    uint64_t now = now_us();
    for (;;) {
        char *from = body->bytes + connection->searched, *end = body->bytes + body->length;
        char *found = memmem(from, end - from, key, key_length);
        char *quote = found ? memchr(found + key_length, '"', end - found - key_length) : NULL;
        if (!quote) {
            if (!found && (size_t)(end - from) >= key_length) connection->searched = body->length - key_length + 1;
            return 0;
        }
        char *piece = found + key_length;
        if (quote > piece && check_piece(connection, piece, quote - piece, now) < 0) return -1;
        connection->searched = quote + 1 - body->bytes;
    }
}

/* Judges an answer at its end and asks again while there is time. */
static int end_answer(Connection *connection) {
    Buffer *body = &connection->body;
    char *found = memmem(body->bytes, body->length, closing, strlen(closing));
    char *again = found ? memmem(found + 1, body->bytes + body->length - found - 1, closing, strlen(closing)) : NULL;
    answers++;
    add_sample(&answer_us, answer_time_us() - connection->start_us);
    if (connection->text_at != text.length || connection->pieces != pieces_expected) complain("text incomplete", body);
    else if (!found || again) complain(found ? "closed twice" : "not closed", body);
    if (now_us() >= deadline_us) finish(connection);
    else if (pause_us) connection->due_us = now_us() + pause_us;
    else return ask(connection);
    return 0;
}

/* Asks on the connections whose pause is over. */
static void ask_again(Connection *connections, int count) {
    uint64_t now = now_us();
    for (int i = 0; i < count; i++) {
        if (!connections[i].due_us || connections[i].due_us > now) continue;
        connections[i].due_us = 0;
        if (ask(&connections[i]) < 0) die("send");
    }
}

static int read_head(Connection *connection, const char *head_end) {
    Buffer *received = &connection->received;
    size_t head_length = head_end + 4 - received->bytes;
    received->bytes[head_length - 1] = 0;
    char *length = strcasestr(received->bytes, "\r\ncontent-length:");
    int chunked = !!strcasestr(received->bytes, "\r\ntransfer-encoding: chunked");
    received->bytes[head_length - 1] = '\n';
    if (memcmp(received->bytes + 8, " 200", 4) || !(length || chunked)) return -1;
    connection->part = length ? BODY : CHUNK_SIZE;
    connection->part_left = length ? strtoul(length + 17, NULL, 10) : 0;
    drop_front(received, head_length);
    return 0;
}

/* Moves what was received to the body, without its HTTP framing. Positive: the answer is whole. */
static int take_received(Connection *connection) {
    Buffer *received = &connection->received;
    size_t at = 0, line;
    int whole = 0;
    if (connection->part == HEAD) {
        char *end = memmem(received->bytes, received->length, "\r\n\r\n", 4);
        if (!end) return 0;
        if (read_head(connection, end) < 0) return -1;
    }
    while (!whole && at < received->length) {
        char *from = received->bytes + at, *newline;
        size_t left = received->length - at;
        if (connection->part == BODY || connection->part == CHUNK) {
            size_t taken = left < connection->part_left ? left : connection->part_left;
            append(&connection->body, from, taken);
            at += taken;
            if ((connection->part_left -= taken)) break;
            whole = connection->part == BODY;
            connection->part = CHUNK_END;
            continue;
        }
        if (!(newline = memchr(from, '\n', left))) break;
        line = newline + 1 - from;
        if (connection->part == CHUNK_SIZE) {
            connection->part_left = strtoul(from, NULL, 16);
            connection->part = connection->part_left ? CHUNK : LAST_LINE;
        } else {
            whole = connection->part == LAST_LINE;
            connection->part = CHUNK_SIZE;
        }
        at += line;
    }
    drop_front(received, at);
    return whole;
}

static void serve(Connection *connection, uint32_t events) {
    if (events & EPOLLOUT && write_request(connection) < 0) events |= EPOLLERR;
    if (!(events & (EPOLLIN | EPOLLERR | EPOLLHUP))) return;
    const char *fault = "connection lost";
    int state = receive(connection->socket, &connection->received) < 0 ? -1 : 0;
    if (!state && (state = take_received(connection)) < 0) fault = "no good answer";
    if (state >= 0 && connection->part != HEAD && check_pieces(connection) < 0) state = -1, fault = "wrong text";
    if (state > 0 && end_answer(connection) < 0) state = -1;
    if (state >= 0) return;
    answers++;
    complain(fault, connection->part == HEAD ? &connection->received : &connection->body);
    finish(connection);
}

static int by_value(const void *left, const void *right) {
    uint32_t a = *(const uint32_t *)left, b = *(const uint32_t *)right;
    return (a > b) - (a < b);
}

static void print_samples(const char *name, Samples *samples) {
    qsort(samples->values, samples->count, sizeof(uint32_t), by_value);
    const double shares[] = {0.5, 0.99, 1};
    printf(", \"%s\": [", name);
    for (int i = 0; i < 3; i++) {
        printf("%s%u", i ? ", " : "", samples->count ? samples->values[(size_t)(shares[i] * (samples->count - 1))] : 0);
    }
    printf("]");
}

int main(int count, char **arguments) {
    if (count < 10 || count > 11) return 2;
    port = atoi(arguments[1]);
    int connection_count = atoi(arguments[2]), started = 0;
    double seconds = atof(arguments[3]);
    request = read_file(arguments[4]);
    key = arguments[5];
    closing = arguments[6];
    text = read_file(arguments[7]);
    pieces_expected = atoi(arguments[8]);
    pause_us = atoi(arguments[9]);
    if (count == 11) open_clocks(arguments[10]);
    epoll = epoll_create1(0);
    Connection *connections = calloc(connection_count, sizeof *connections);
    uint64_t start_us = now_us(), heard_us = start_us;
    uint64_t spread_us = pause_us ? pause_us : seconds > 0 || connection_count == 1 ? 0 : 1000000;
    deadline_us = start_us + seconds * 1e6;
    do {
        uint64_t now = now_us();
        while (started < connection_count && now - start_us >= spread_us * started / connection_count) {
            if (start(&connections[started++]) < 0) die("send");
        }
        struct epoll_event events[512];
        int ready = epoll_wait(epoll, events, 512, pause_us || started < connection_count ? 1 : 100);
        if (ready > 0) heard_us = now_us();
        for (int i = 0; i < ready; i++) serve(events[i].data.ptr, events[i].events);
        ask_again(connections, started);
        if (now_us() - heard_us > SILENCE_LIMIT_US) break;
    } while (started < connection_count || open_connections);
    for (int i = 0; open_connections && i < connection_count; i++) {
        if (connections[i].socket >= 0) complain("silence", &connections[i].body);
    }
    double seconds_taken = (now_us() - start_us) / 1e6;
    printf("{\"answers\": %lu, \"wrong\": %lu, \"complaint\": \"%s\"", answers, wrong, complaint);
    printf(", \"pieces\": %lu, \"seconds\": %.3f", pieces, seconds_taken);
    print_samples("answer_us", &answer_us);
    print_samples("delay_us", &delay_us);
    puts("}");
}
