/*
 * bench/serve.c - a server of our own: a fresh directory, a free port, readiness, and an end by its
 * process id.
 *
 * The child is told to die with us, so that a killed benchmark leaves no server behind.
 */
#include <arpa/inet.h>
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "bench.h"

#define READY_US 60000000LL
#define STOP_US 60000000LL
#define PAUSE_US 1000u
#define PATH_BYTES 4096u
#define LOG_TAIL_BYTES 4096

struct server {
    pid_t pid;
    char dir[PATH_BYTES / 2], config[PATH_BYTES], target[64];
};

/* A port that nothing listens on, below the range that outgoing connections take theirs from. */
static uint16_t free_port(void)
{
    for (int i = 0; i < 1000; i++) {
        const uint16_t port = (uint16_t)(10000 + bench_random_below(22000));
        const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        const struct sockaddr_in addr = {.sin_family = AF_INET,
                                         .sin_port = htons(port),
                                         .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        const bool is_free = fd >= 0 && bind(fd, (const struct sockaddr *)&addr, sizeof addr) == 0;
        if (fd >= 0) {
            (void)close(fd);
        }
        if (is_free) {
            return port;
        }
    }
    bench_die("no free port");
}

static const char *bool_text(bool value)
{
    return value ? "true" : "false";
}

static void config_write(const struct bench *bench, struct server *server)
{
    const struct bench_options *o = &bench->options;
    const struct scenario *scenario = bench->scenario;
    FILE *file = fopen(server->config, "w");
    if (file == NULL) {
        bench_die("%s: %s", server->config, strerror(errno));
    }
    const uint32_t own = scenario->shards != 0 ? scenario->shards : 1;
    (void)fprintf(file,
                  "server.grpc_addr = \"%s\"\n"
                  "server.shutdown_timeout_ms = 50000\n"
                  "tenancy.enabled = %s\n"
                  "coordination.initial_shard_count = %u\n"
                  "webui.enabled = false\n"
                  "metrics.enabled = false\n"
                  "database.backend = \"fs\"\n"
                  "database.path = \"%s/data/%%shard%%\"\n"
                  "database.fsync = %s\n"
                  "database.local_log = %s\n"
                  "database.latency_read_ms = %u\n"
                  "database.latency_write_ms = %u\n",
                  server->target, bool_text(scenario->tenancy), o->shards != 0 ? o->shards : own,
                  server->dir, bool_text(o->fsync), bool_text(o->log),
                  o->latency_read_ms != 0 ? o->latency_read_ms : scenario->read_ms,
                  o->latency_write_ms);
    if (o->flush_interval != NULL) {
        (void)fprintf(file, "database.slatedb.flush_interval = \"%s\"\n", o->flush_interval);
    }
    for (size_t i = 0; i < sizeof scenario->settings / sizeof scenario->settings[0]; i++) {
        if (scenario->settings[i] != NULL) {
            (void)fprintf(file, "%s\n", scenario->settings[i]);
        }
    }
    for (uint32_t i = 0; i < o->settings_count; i++) {
        (void)fprintf(file, "%s\n", o->settings[i]);
    }
    if (fclose(file) != 0) {
        bench_die("%s: %s", server->config, strerror(errno));
    }
}

static void program_path(const struct bench *bench, char *ret_path, size_t size)
{
    if (bench->options.program != NULL) {
        (void)snprintf(ret_path, size, "%s", bench->options.program);
        return;
    }
    const ssize_t n = readlink("/proc/self/exe", ret_path, size - 1);
    ret_path[n > 0 ? n : 0] = '\0';
    char *slash = strrchr(ret_path, '/');
    const size_t at = slash != NULL ? (size_t)(slash - ret_path) : 0;
    (void)snprintf(ret_path + at, size - at, "/silo");
}

static _Noreturn void child_run(const struct server *server, const char *program, pid_t parent)
{
    char log[PATH_BYTES];
    (void)snprintf(log, sizeof log, "%s/server.log", server->dir);
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    const int fd = open(log, O_WRONLY | O_CREAT | O_APPEND, 0666);
    const int nothing = open("/dev/null", O_RDONLY);
    if (getppid() == parent && fd >= 0 && nothing >= 0 && dup2(nothing, 0) == 0 &&
        dup2(fd, 1) == 1 && dup2(fd, 2) == 2 && setpgid(0, 0) == 0) {
        (void)execl(program, program, "--config", server->config, (char *)NULL);
    }
    _exit(127);
}

static void print_log(const struct server *server)
{
    char path[PATH_BYTES], text[LOG_TAIL_BYTES + 1];
    (void)snprintf(path, sizeof path, "%s/server.log", server->dir);
    FILE *file = fopen(path, "r");
    if (file == NULL) {
        return;
    }
    if (fseek(file, -LOG_TAIL_BYTES, SEEK_END) != 0) {
        rewind(file);
    }
    const size_t n = fread(text, 1, LOG_TAIL_BYTES, file);
    text[n] = '\0';
    (void)fprintf(stderr, "silo-bench: the server's last lines:\n%s", text);
    (void)fclose(file);
}

/* Whether the child has ended; *ret_status as of waitpid. */
static bool child_ended(struct server *server, int *ret_status)
{
    int status = 0;
    if (server->pid == 0 || waitpid(server->pid, &status, WNOHANG) == server->pid) {
        server->pid = 0;
        *ret_status = status;
        return true;
    }
    return false;
}

static bool accepts(const char *target)
{
    const char *colon = strrchr(target, ':');
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const struct sockaddr_in addr = {
        .sin_family = AF_INET,
        .sin_port = htons((uint16_t)strtoul(colon != NULL ? colon + 1 : "0", NULL, 10)),
        .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    const bool ok = fd >= 0 && connect(fd, (const struct sockaddr *)&addr, sizeof addr) == 0;
    if (fd >= 0) {
        (void)close(fd);
    }
    return ok;
}

void server_restart(struct bench *bench)
{
    struct server *server = bench->server;
    char program[PATH_BYTES];
    program_path(bench, program, sizeof program);
    const pid_t parent = getpid();
    server->pid = fork();
    if (server->pid == 0) {
        child_run(server, program, parent);
    }
    if (server->pid < 0) {
        bench_die("fork: %s", strerror(errno));
    }
    bench->options.pid = server->pid;
    const int64_t start = env_mono_us(&env_system);
    while (!accepts(bench->options.target)) {
        int status = 0;
        if (child_ended(server, &status) || env_mono_us(&env_system) - start > READY_US) {
            print_log(server);
            bench_die("%s did not start", program);
        }
        (void)usleep(PAUSE_US);
    }
}

/* Until every shard answers. */
void server_wait_ready(struct bench *bench)
{
    const int64_t start = env_mono_us(&env_system);
    struct silo_err err;
    struct rpc_loop *loop = NULL;
    struct rpc_channel *channel = NULL;
    const struct rpc_channel_options options = {.target = bench->options.target};
    if (rpc_loop_new(&loop, &err).code != SILO_OK ||
        rpc_channel_new(loop, &options, &channel, &err).code != SILO_OK) {
        bench_die("%s", err.text);
    }
    static const uint8_t service[] = "\x0a\x0csilo.v1.Silo"; /* HealthCheckRequest{service} */
    for (bool ready = false; !ready;) {
        struct rpc_answer answer;
        rpc_channel_call_wait(channel, "/grpc.health.v1.Health/Check",
                              bytes_of(service, sizeof service - 1), 1000000, &answer);
        ready = answer.status == RPC_STATUS_OK &&
                bytes_eq(answer.reply, BYTES_LIT("\x08\x01")); /* SERVING */
        rpc_answer_deinit(&answer);
        int status = 0;
        if (!ready &&
            (child_ended(bench->server, &status) || env_mono_us(&env_system) - start > READY_US)) {
            print_log(bench->server);
            bench_die("the server did not become ready");
        }
        if (!ready) {
            (void)usleep(20 * PAUSE_US);
        }
    }
    channel = rpc_channel_free(channel);
    loop = rpc_loop_free(loop);
}

void server_start(struct bench *bench)
{
    struct bench_options *o = &bench->options;
    struct server *server = xcalloc(1, sizeof *server);
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) { /* inherited by the server */
        files.rlim_cur = files.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &files);
    }
    const char *base = o->dir != NULL ? o->dir : getenv("TMPDIR");
    (void)snprintf(server->dir, sizeof server->dir, "%s/silo-bench-XXXXXX",
                   base != NULL && base[0] != '\0' ? base : "/tmp");
    if (mkdtemp(server->dir) == NULL) {
        bench_die("%s: %s", server->dir, strerror(errno));
    }
    bench->server = server;
    if (o->config != NULL) {
        (void)snprintf(server->config, sizeof server->config, "%s", o->config);
    } else {
        (void)snprintf(server->config, sizeof server->config, "%s/silo.toml", server->dir);
        (void)snprintf(server->target, sizeof server->target, "127.0.0.1:%u", free_port());
        o->target = server->target;
        config_write(bench, server);
    }
    server_restart(bench);
    server_wait_ready(bench);
    if (o->keep) {
        (void)fprintf(stderr, "server %ld at %s, files in %s\n", o->pid, o->target, server->dir);
    }
}

void server_stop(struct bench *bench, int signal)
{
    struct server *server = bench->server;
    if (server == NULL || server->pid == 0) {
        return;
    }
    int status = 0;
    (void)kill(server->pid, signal);
    const int64_t start = env_mono_us(&env_system);
    while (!child_ended(server, &status)) {
        if (env_mono_us(&env_system) - start > STOP_US) {
            (void)kill(server->pid, SIGKILL);
        }
        (void)usleep(PAUSE_US);
    }
    if (signal == SIGTERM && !(WIFEXITED(status) && WEXITSTATUS(status) == 0)) {
        print_log(server);
        bench_check(bench, false, "the server ended in an orderly way");
    }
}

static int remove_one(const char *path, const struct stat *info, int kind, struct FTW *at)
{
    (void)info;
    (void)kind;
    (void)at;
    (void)remove(path);
    return 0;
}

void server_free(struct bench *bench)
{
    struct server *server = bench->server;
    if (server == NULL) {
        return;
    }
    if (server->pid != 0) {
        (void)kill(server->pid, SIGKILL);
        (void)waitpid(server->pid, NULL, 0);
    }
    if (!bench->options.keep) {
        (void)nftw(server->dir, remove_one, 32, FTW_DEPTH | FTW_PHYS);
    }
    bench->server = NULL;
    free(server);
}

/* --- WAL objects, or records of a log --- */

static struct {
    char dir[256];
    uint64_t highest;
} walled[BENCH_SHARDS_MAX];
static size_t walled_count;

/*
 * The number of the newest record in a segment of a log (bridge/src/wal_log/record.rs); 0 if it has
 * none.
 */
static uint64_t log_newest_record(const char *path)
{
    uint64_t newest = 0;
    uint32_t header[12];
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    off_t at = 64;
    while (fd >= 0 && pread(fd, header, sizeof header, at) == (ssize_t)sizeof header &&
           memcmp(header, "SLR2", 4) == 0) {
        newest = le32toh(header[6]) | (uint64_t)le32toh(header[7]) << 32;
        at += (off_t)sizeof header + (off_t)le32toh(header[2]);
    }
    if (fd >= 0) {
        (void)close(fd);
    }
    return newest;
}

static int wal_look(const char *path, const struct stat *info, int kind, struct FTW *at)
{
    (void)info;
    const char *name = path + at->base;
    const size_t dir_len = (size_t)at->base;
    const bool objects = dir_len >= 5 && strncmp(path + dir_len - 5, "/wal/", 5) == 0;
    const bool log = dir_len >= 5 && strncmp(path + dir_len - 5, "/log/", 5) == 0;
    if (kind != FTW_F || (!objects && !log)) {
        return 0;
    }
    const uint64_t number = objects ? strtoull(name, NULL, 10) : log_newest_record(path);
    const size_t len = dir_len < sizeof walled[0].dir ? dir_len : sizeof walled[0].dir - 1;
    for (size_t i = 0; i < walled_count; i++) {
        if (strncmp(walled[i].dir, path, len) == 0 && walled[i].dir[len] == '\0') {
            walled[i].highest = number > walled[i].highest ? number : walled[i].highest;
            return 0;
        }
    }
    if (walled_count < BENCH_SHARDS_MAX) {
        memcpy(walled[walled_count].dir, path, len);
        walled[walled_count].dir[len] = '\0';
        walled[walled_count++].highest = number;
    }
    return 0;
}

uint64_t server_wal_objects(const struct bench *bench)
{
    uint64_t sum = 0;
    if (bench->server != NULL) {
        walled_count = 0;
        (void)nftw(bench->server->dir, wal_look, 32, FTW_PHYS);
        for (size_t i = 0; i < walled_count; i++) {
            sum += walled[i].highest;
        }
    }
    return sum;
}
