/* The upstream of benchmarks/peers.py: every request gets the same chat completion. Where the body asks for a stream
 * it gets CHUNKS events, one every EVERY_MS, each carrying the moment it was written (CLOCK_MONOTONIC, ns), so that a
 * reader on the same machine knows how long it was under way. One thread, epoll; nothing a measured gateway waits for.
 *
 *     cc -O2 -o upstream _peers_upstream.c && ./upstream PORT CHUNKS EVERY_MS
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define BUFFER (1 << 20)

struct conn { int fd, used, left; long long next_ns; char *in; struct conn *later; };

static struct conn *streams;
static int chunks, every_ms;
static char answer[4096];
static int answer_bytes;

static long long now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static void make_answer(void) {
    char text[700], body[2048];
    memset(text, 0, sizeof text);
    while (strlen(text) < 560) strcat(text, "The answer is forty two. ");
    int n = snprintf(body, sizeof body,
        "{\"id\":\"chatcmpl-1\",\"object\":\"chat.completion\",\"created\":1700000000,\"model\":\"model\",\"choices\":[{"
        "\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":\"%s\"},\"finish_reason\":\"stop\"}],"
        "\"usage\":{\"prompt_tokens\":250,\"completion_tokens\":120,\"total_tokens\":370}}", text);
    answer_bytes = snprintf(answer, sizeof answer,
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s", n, body);
}

static int send_all(int fd, const char *data, int size) {
    while (size > 0) {
        ssize_t n = send(fd, data, size, MSG_NOSIGNAL);
        if (n < 0 && errno == EAGAIN) { usleep(50); continue; }
        if (n <= 0) return -1;
        data += n;
        size -= n;
    }
    return 0;
}

static int send_chunk(int fd, const char *event, int size) {
    char frame[1024];
    int n = snprintf(frame, sizeof frame, "%x\r\n%s\r\n", size, event);
    return send_all(fd, frame, n);
}

static void end(struct conn *c) {
    close(c->fd);
    c->fd = -1;
}

static void next_chunk(struct conn *c) {
    char event[512];
    int n;
    if (c->left > 0) {
        n = snprintf(event, sizeof event,
            "data: {\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\",\"created\":1700000000,\"model\":\"model\","
            "\"choices\":[{\"index\":0,\"delta\":{\"content\":\" t%lld\"},\"finish_reason\":null}]}\n\n", now_ns());
        c->left--;
        c->next_ns += every_ms * 1000000LL;
        if (send_chunk(c->fd, event, n)) end(c);
        return;
    }
    n = snprintf(event, sizeof event,
        "data: {\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\",\"created\":1700000000,\"model\":\"model\","
        "\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n"
        "data: {\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\",\"created\":1700000000,\"model\":\"model\","
        "\"choices\":[],\"usage\":{\"prompt_tokens\":250,\"completion_tokens\":%d,\"total_tokens\":%d}}\n\n"
        "data: [DONE]\n\n", chunks, 250 + chunks);
    c->left = -1;
    if (send_chunk(c->fd, event, n) || send_all(c->fd, "0\r\n\r\n", 5)) end(c);
}

static void begin_stream(struct conn *c) {
    static const char head[] =
        "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
    if (send_all(c->fd, head, sizeof head - 1)) { end(c); return; }
    c->left = chunks;
    c->next_ns = now_ns();
    c->later = streams;
    streams = c;
    next_chunk(c);
}

/* Answer every whole request in the buffer; return 0 when the connection is of no more use. */
static int serve(struct conn *c) {
    for (;;) {
        c->in[c->used] = 0;
        char *head = strstr(c->in, "\r\n\r\n");
        if (!head) return c->used < BUFFER - 1;
        char *length = strcasestr(c->in, "content-length:");
        int size = length && length < head ? atoi(length + 15) : 0;
        int whole = (int)(head - c->in) + 4 + size;
        if (c->used < whole) return 1;
        char kept = c->in[whole];
        c->in[whole] = 0;
        int stream = strstr(head, "\"stream\":true") || strstr(head, "\"stream\": true");
        c->in[whole] = kept;
        memmove(c->in, c->in + whole, c->used - whole);
        c->used -= whole;
        if (stream) begin_stream(c);
        else if (send_all(c->fd, answer, answer_bytes)) return 0;
        if (!c->used || c->fd < 0) return 1;
    }
}

static int due_streams(void) {
    int wait_ms = 1000;
    long long now = now_ns();
    for (struct conn **at = &streams; *at;) {
        struct conn *c = *at;
        if (c->fd >= 0 && c->left >= 0 && c->next_ns <= now) next_chunk(c);
        if (c->fd < 0 || c->left < 0) { *at = c->later; continue; }
        int ms = (int)((c->next_ns - now) / 1000000);
        if (ms < wait_ms) wait_ms = ms < 0 ? 0 : ms;
        at = &c->later;
    }
    return wait_ms;
}

int main(int count, char **args) {
    if (count < 4) return 2;
    struct rlimit files = {65536, 65536};
    setrlimit(RLIMIT_NOFILE, &files);
    chunks = atoi(args[2]);
    every_ms = atoi(args[3]);
    make_answer();
    int one = 1, listening = socket(AF_INET, SOCK_STREAM, 0), poll = epoll_create1(0);
    struct sockaddr_in where = {.sin_family = AF_INET, .sin_port = htons(atoi(args[1]))};
    where.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    setsockopt(listening, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(listening, (void *)&where, sizeof where) || listen(listening, 4096)) return perror("bind"), 1;
    struct epoll_event heard = {.events = EPOLLIN, .data.ptr = NULL}, events[512];
    epoll_ctl(poll, EPOLL_CTL_ADD, listening, &heard);
    puts("ready");
    fflush(stdout);
    for (;;) {
        int n = epoll_wait(poll, events, 512, due_streams());
        for (int i = 0; i < n; i++) {
            struct conn *c = events[i].data.ptr;
            if (!c) {
                int fd = accept4(listening, NULL, NULL, SOCK_NONBLOCK);
                if (fd < 0) continue;
                setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
                c = calloc(1, sizeof *c);
                c->fd = fd;
                c->left = -1;
                c->in = malloc(BUFFER);
                struct epoll_event each = {.events = EPOLLIN, .data.ptr = c};
                epoll_ctl(poll, EPOLL_CTL_ADD, fd, &each);
                continue;
            }
            if (c->fd < 0) continue;
            ssize_t got = recv(c->fd, c->in + c->used, BUFFER - 1 - c->used, 0);
            if (got < 0 && errno == EAGAIN) continue;
            if (got <= 0) { end(c); continue; }
            c->used += got;
            if (!serve(c)) end(c);
        }
    }
}
