/* The load over TLS: connections that each send a message, wait for the answer, and send the next.
 * Usage: load PORT CONNECTIONS http|BYTES SECONDS SERVER_PID
 * Prints: round trips a second, and the server's CPU time for each, in nanoseconds.
 *
 * A load that encrypts and decrypts as it goes is as busy as the server, and measures itself. So
 * messages are encrypted before the time begins, and what came back is decrypted and compared when
 * it is over, as far as HELD_MAX goes; meanwhile only the lengths of records are looked at. One
 * thread, on non-blocking sockets; TLS 1.3. */
#include "../echo/net.h"

#include <openssl/ssl.h>

#define WARM_UP 0.2          /* of the seconds, not counted */
#define RATE_MAX 300000.0    /* round trips a second that are prepared for; more are encrypted late */
#define HELD_MAX (1UL << 30) /* bytes of all connections, each way */
#define CHUNK (128 * 1024)   /* read at once */
#define RECORD_EXTRA 17      /* in the body of a record of TLS 1.3: its type, and the tag */
#define HEADER 5
#define ANSWER_MAX 4096 /* of HTTP */

static const char REQUEST[] = "GET / HTTP/1.1\r\nhost: localhost\r\n\r\n";

struct client {
    int fd;
    SSL *ssl;
    BIO *in, *out;
    /* Messages, encrypted. */
    unsigned char *messages;
    size_t next, prepared, sent;
    /* Answers, encrypted, and how much was looked at of the one that is on its way. */
    unsigned char *held;
    size_t held_count, plain, record_left, header_count;
    unsigned char header[HEADER];
    /* Where in the answer the next decrypted byte belongs. */
    size_t checked;
};

static char *message, *answer;
static size_t message_size, answer_size;
static size_t wire_size; /* of a message */
static size_t prepared_max, held_max;
static uint64_t round_trips;

static void fail(const char *why) {
    fprintf(stderr, "%s\n", why);
    exit(1);
}

static void must_wait(SSL *ssl, int result, const char *what) {
    int why = SSL_get_error(ssl, result);
    if (why != SSL_ERROR_WANT_READ) fail(what);
}

/* --- with OpenSSL: before and after the time that counts ------------------------------------- */

static void send_all(struct client *client) {
    unsigned char chunk[16384];
    int count;
    while ((count = BIO_read(client->out, chunk, sizeof chunk)) > 0) {
        for (int sent = 0; sent < count;) {
            ssize_t more = send(client->fd, chunk + sent, (size_t)(count - sent), 0);
            if (more < 0) die("send");
            sent += (int)more;
        }
    }
}

static void receive_some(struct client *client) {
    unsigned char chunk[16384];
    ssize_t count = recv(client->fd, chunk, sizeof chunk, 0);
    if (count <= 0) fail("the server closed a connection");
    if (BIO_write(client->in, chunk, (int)count) != count) fail("no memory");
}

static size_t read_plain(struct client *client, char *target, size_t most) {
    int count = SSL_read(client->ssl, target, (int)most);
    if (count > 0) return (size_t)count;
    must_wait(client->ssl, count, "SSL_read");
    return 0;
}

/* Whether this is all of a page. */
static int is_page(const char *text) {
    const char *body = strstr(text, "\r\n\r\n"), *length = strcasestr(text, "content-length: ");
    if (!body) return 0;
    if (strncmp(text, "HTTP/1.1 200 ", 13) != 0 || !length) fail("not the answer asked for");
    return strlen(body + 4) >= (size_t)atol(length + 16);
}

/* One message and its answer. It takes what the server sends once after the handshake out of the
 * way; the first connection learns what a page is. */
static void exchange(struct client *client) {
    if (SSL_write(client->ssl, message, (int)message_size) != (int)message_size) fail("SSL_write");
    wire_size = (size_t)BIO_pending(client->out);
    send_all(client);
    char *came = calloc(1, (answer_size ? answer_size : ANSWER_MAX) + 1);
    if (!came) die("memory");
    for (size_t count = 0; answer_size ? count < answer_size : !is_page(came);) {
        size_t room = (answer_size ? answer_size : ANSWER_MAX) - count;
        size_t more = room ? read_plain(client, came + count, room) : 0;
        if (!room) fail("too long an answer");
        if (!more) receive_some(client);
        count += more;
        if (!answer_size && is_page(came)) {
            answer = came;
            answer_size = count;
            return;
        }
    }
    if (memcmp(came, answer, answer_size) != 0) fail("what came back is not what was sent");
    free(came);
}

static void open_client(struct client *client, SSL_CTX *context, int port) {
    struct sockaddr_in address = loopback(port);
    client->fd = socket(AF_INET, SOCK_STREAM, 0);
    if (client->fd < 0) die("socket");
    if (connect(client->fd, (struct sockaddr *)&address, sizeof address) < 0) die("connect");
    no_delay(client->fd);
    client->ssl = SSL_new(context);
    client->in = BIO_new(BIO_s_mem());
    client->out = BIO_new(BIO_s_mem());
    if (!client->ssl || !client->in || !client->out) die("SSL_new");
    SSL_set_bio(client->ssl, client->in, client->out);
    SSL_set_connect_state(client->ssl);
    int result;
    while ((result = SSL_do_handshake(client->ssl)) != 1) {
        must_wait(client->ssl, result, "handshake");
        send_all(client);
        receive_some(client);
    }
    send_all(client);
    exchange(client);
    int flags = fcntl(client->fd, F_GETFL);
    if (flags < 0 || fcntl(client->fd, F_SETFL, flags | O_NONBLOCK) < 0) die("fcntl");
}

/* Encrypts up to `count` messages. */
static void prepare(struct client *client, size_t count) {
    for (size_t i = 0; i < count; i++) {
        if (SSL_write(client->ssl, message, (int)message_size) != (int)message_size) {
            fail("SSL_write");
        }
        unsigned char *place = client->messages + i * wire_size;
        if (BIO_read(client->out, place, (int)wire_size) != (int)wire_size) fail("BIO_read");
    }
    client->next = 0;
    client->prepared = count;
}

/* Decrypts what is held, and compares it with the answer. */
static void check(struct client *client) {
    static char plain[16384];
    for (size_t start = 0; start < client->held_count;) {
        size_t left = client->held_count - start, part = left < CHUNK ? left : CHUNK;
        if (BIO_write(client->in, client->held + start, (int)part) != (int)part) fail("no memory");
        start += part;
        size_t count;
        while ((count = read_plain(client, plain, sizeof plain)) > 0) {
            for (size_t done = 0; done < count;) {
                size_t rest = answer_size - client->checked;
                size_t same = count - done < rest ? count - done : rest;
                if (memcmp(plain + done, answer + client->checked, same) != 0) {
                    fail("what came back is not what was sent");
                }
                done += same;
                client->checked = (client->checked + same) % answer_size;
            }
        }
    }
    client->held_count = 0;
}

/* --- in the time that counts ----------------------------------------------------------------- */

static void send_rest(struct client *client) {
    if (client->sent == wire_size) return;
    if (client->next == client->prepared) prepare(client, prepared_max < 16 ? prepared_max : 16);
    const unsigned char *bytes = client->messages + client->next * wire_size;
    while (client->sent < wire_size) {
        ssize_t count = send(client->fd, bytes + client->sent, wire_size - client->sent, 0);
        if (count < 0) {
            if (errno != EAGAIN) die("send");
            return;
        }
        client->sent += (size_t)count;
    }
    client->next++;
}

/* Follows the records; whether an answer is complete with these bytes. */
static int follow(struct client *client, const unsigned char *bytes, size_t count) {
    while (count > 0) {
        if (client->record_left > 0) {
            size_t part = count < client->record_left ? count : client->record_left;
            client->record_left -= part;
            bytes += part;
            count -= part;
            continue;
        }
        client->header[client->header_count++] = *bytes++;
        count--;
        if (client->header_count == HEADER) {
            size_t length = (size_t)client->header[3] << 8 | client->header[4];
            if (client->header[0] != 23 || length < RECORD_EXTRA) fail("not a record of data");
            client->plain += length - RECORD_EXTRA;
            client->record_left = length;
            client->header_count = 0;
        }
    }
    return client->plain == answer_size && client->record_left == 0;
}

static void receive(struct client *client) {
    for (;;) {
        if (client->held_count + CHUNK > held_max) check(client);
        unsigned char *place = client->held + client->held_count;
        ssize_t count = recv(client->fd, place, CHUNK, 0);
        if (count < 0 && errno == EAGAIN) return;
        if (count < 0) die("recv");
        if (count == 0) fail("the server closed a connection");
        client->held_count += (size_t)count;
        if (follow(client, place, (size_t)count)) {
            round_trips++;
            client->plain = client->sent = 0;
            send_rest(client);
            return; /* nothing more can have come, and what comes is an event */
        }
        if (count < CHUNK) return;
    }
}

static void run_until(int epoll, double deadline) {
    struct epoll_event events[EVENTS_MAX];
    while (now() < deadline) {
        int count = epoll_wait(epoll, events, EVENTS_MAX, 100);
        if (count < 0 && errno != EINTR) die("epoll_wait");
        for (int i = 0; i < count; i++) {
            send_rest(events[i].data.ptr);
            receive(events[i].data.ptr);
        }
    }
}

static void choose_messages(const char *what) {
    if (strcmp(what, "http") == 0) {
        message = strdup(REQUEST);
        message_size = strlen(REQUEST);
        if (!message) die("memory");
        return;
    }
    message_size = answer_size = (size_t)atol(what);
    message = answer = malloc(message_size);
    if (!message || !message_size) die("memory");
    for (size_t i = 0; i < message_size; i++) message[i] = (char)(i * 31 + i / 251);
}

/* Memory for `rate` round trips of so many bytes, that is there and needs no fault any more. */
static unsigned char *memory(size_t *count, size_t each, size_t least, double wanted, int clients) {
    double most = (double)(HELD_MAX / (size_t)clients) / (double)each;
    *count = (size_t)(wanted < most ? wanted : most) + least;
    unsigned char *made = malloc(*count * each);
    if (!made) die("memory");
    memset(made, 1, *count * each);
    return made;
}

int main(int argc, char **argv) {
    if (argc != 6) {
        fprintf(stderr, "usage: load PORT CONNECTIONS http|BYTES SECONDS SERVER_PID\n");
        return 2;
    }
    int connections = atoi(argv[2]);
    double seconds = atof(argv[4]);
    pid_t server = (pid_t)atol(argv[5]);
    choose_messages(argv[3]);
    struct client *clients = calloc((size_t)connections, sizeof *clients);
    SSL_CTX *context = SSL_CTX_new(TLS_client_method());
    if (!clients || !context) die("memory");
    if (!SSL_CTX_set_min_proto_version(context, TLS1_3_VERSION)) fail("TLS 1.3 is not there");
    int epoll = epoll_create1(0);
    if (epoll < 0) die("epoll_create1");
    double trips = RATE_MAX * seconds * (1 + WARM_UP) / connections;
    for (int i = 0; i < connections; i++) {
        struct client *client = &clients[i];
        open_client(client, context, atoi(argv[1]));
        client->messages = memory(&prepared_max, wire_size, 1, trips, connections);
        double bytes = trips * (double)(answer_size + 2 * (HEADER + RECORD_EXTRA));
        client->held = memory(&held_max, 1, CHUNK, bytes, connections);
        prepare(client, prepared_max);
        watch(epoll, EPOLL_CTL_ADD, client->fd, EPOLLIN | EPOLLOUT | EPOLLET, client);
    }
    for (int i = 0; i < connections; i++) send_rest(&clients[i]);
    run_until(epoll, now() + seconds * WARM_UP);
    round_trips = 0;
    double started = now(), spent = cpu_seconds(server);
    run_until(epoll, started + seconds);
    double measured = now() - started;
    spent = cpu_seconds(server) - spent;
    for (int i = 0; i < connections; i++) check(&clients[i]);
    if (!round_trips) fail("nothing came back");
    printf("%.1f %.1f\n", (double)round_trips / measured, spent * 1e9 / (double)round_trips);
    return 0;
}
