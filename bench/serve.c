/*
 * bench/serve.c - servers of our own: a fresh directory, free ports, readiness, and an end by their
 * process ids. Several share a directory, and an etcd that is started for them.
 *
 * Children are told to die with us, so that a killed benchmark leaves no server behind.
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

/* One process. */
struct server {
    const char *name; /* of its log, in the directory that all share */
    pid_t pid;
    char config[PATH_BYTES], target[64];
};

/* All of them. */
static struct {
    char dir[PATH_BYTES / 2];
    struct server *nodes;
    uint32_t node_count;
    struct server etcd; /* pid 0: none */
    char targets[BENCH_NODES_MAX * 32];
} own;

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

/* What nodes of one cluster need besides. */
static void config_cluster(FILE *file, const struct server *server)
{
    (void)fprintf(file,
                  "database.lock = false\n"
                  "coordination.backend = \"etcd\"\n"
                  "coordination.etcd_endpoints = [\"http://%s\"]\n"
                  "coordination.cluster_prefix = \"bench\"\n"
                  "coordination.node_id = \"%s\"\n"
                  "coordination.advertised_grpc_addr = \"%s\"\n"
                  "coordination.lease_ttl_secs = 3\n"
                  "coordination.placement_rings = [\"default\", \"%s\"]\n",
                  own.etcd.target, server->name, server->target, server->name);
}

static void config_write(const struct bench *bench, const struct server *server)
{
    const struct bench_options *o = &bench->options;
    const struct scenario *scenario = bench->scenario;
    FILE *file = fopen(server->config, "w");
    if (file == NULL) {
        bench_die("%s: %s", server->config, strerror(errno));
    }
    const uint32_t preset = scenario->shards != 0 ? scenario->shards : 1;
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
                  server->target, bool_text(scenario->tenancy), o->shards != 0 ? o->shards : preset,
                  own.dir, bool_text(o->fsync), bool_text(o->log && own.node_count == 1),
                  o->latency_read_ms != 0 ? o->latency_read_ms : scenario->read_ms,
                  o->latency_write_ms);
    if (own.node_count > 1) {
        config_cluster(file, server);
    }
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

static void log_path(const struct server *server, char ret_path[PATH_BYTES])
{
    (void)snprintf(ret_path, PATH_BYTES, "%s/%s.log", own.dir, server->name);
}

static _Noreturn void child_run(const struct server *server, char *const *argv, pid_t parent)
{
    char log[PATH_BYTES];
    log_path(server, log);
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    const int fd = open(log, O_WRONLY | O_CREAT | O_APPEND, 0666);
    const int nothing = open("/dev/null", O_RDONLY);
    if (getppid() == parent && fd >= 0 && nothing >= 0 && dup2(nothing, 0) == 0 &&
        dup2(fd, 1) == 1 && dup2(fd, 2) == 2 && setpgid(0, 0) == 0) {
        (void)execv(argv[0], argv);
    }
    _exit(127);
}

static void child_start(struct server *server, char *const *argv)
{
    const pid_t parent = getpid();
    server->pid = fork();
    if (server->pid == 0) {
        child_run(server, argv, parent);
    }
    if (server->pid < 0) {
        bench_die("fork: %s", strerror(errno));
    }
}

static void print_log(const struct server *server)
{
    char path[PATH_BYTES], text[LOG_TAIL_BYTES + 1];
    log_path(server, path);
    FILE *file = fopen(path, "r");
    if (file == NULL) {
        return;
    }
    if (fseek(file, -LOG_TAIL_BYTES, SEEK_END) != 0) {
        rewind(file);
    }
    const size_t n = fread(text, 1, LOG_TAIL_BYTES, file);
    text[n] = '\0';
    (void)fprintf(stderr, "silo-bench: the last lines of %s:\n%s", server->name, text);
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

static void await_port(struct server *server)
{
    const int64_t start = env_mono_us(&env_system);
    while (!accepts(server->target)) {
        int status = 0;
        if (child_ended(server, &status) || env_mono_us(&env_system) - start > READY_US) {
            print_log(server);
            bench_die("%s did not start", server->name);
        }
        (void)usleep(PAUSE_US);
    }
}

void server_launch(struct bench *bench, uint32_t node)
{
    struct server *server = &own.nodes[node];
    char program[PATH_BYTES];
    program_path(bench, program, sizeof program);
    child_start(server, (char *const[]){program, lend("--config"), server->config, NULL});
    if (node == 0) {
        bench->options.pid = server->pid;
    }
}

void server_restart(struct bench *bench)
{
    for (uint32_t i = 0; i < own.node_count; i++) {
        server_launch(bench, i);
    }
    for (uint32_t i = 0; i < own.node_count; i++) {
        await_port(&own.nodes[i]);
    }
}

static bool is_serving(struct rpc_channel *channel)
{
    static const uint8_t service[] = "\x0a\x0csilo.v1.Silo"; /* HealthCheckRequest{service} */
    struct rpc_answer answer;
    rpc_channel_call_wait(channel, "/grpc.health.v1.Health/Check",
                          bytes_of(service, sizeof service - 1), 1000000, &answer);
    const bool ready = answer.status == RPC_STATUS_OK &&
                       bytes_eq(answer.reply, BYTES_LIT("\x08\x01")); /* SERVING */
    rpc_answer_deinit(&answer);
    return ready;
}

bool server_wait_node(uint32_t node, double seconds)
{
    const int64_t start = env_mono_us(&env_system);
    struct server *server = &own.nodes[node];
    struct silo_err err;
    struct rpc_loop *loop = NULL;
    struct rpc_channel *channel = NULL;
    const struct rpc_channel_options options = {.target = server->target};
    if (rpc_loop_new(&loop, &err).code != SILO_OK ||
        rpc_channel_new(loop, &options, &channel, &err).code != SILO_OK) {
        bench_die("%s", err.text);
    }
    bool ready = false;
    int status = 0;
    while (!(ready = is_serving(channel)) && !child_ended(server, &status) &&
           bench_seconds_since(start) < seconds) {
        (void)usleep(20 * PAUSE_US);
    }
    channel = rpc_channel_free(channel);
    loop = rpc_loop_free(loop);
    return ready;
}

/* Until every shard answers. */
void server_wait_ready(struct bench *bench)
{
    (void)bench;
    for (uint32_t i = 0; i < own.node_count; i++) {
        if (!server_wait_node(i, (double)READY_US / 1e6)) {
            print_log(&own.nodes[i]);
            bench_die("%s did not become ready", own.nodes[i].name);
        }
    }
}

static void etcd_start(const struct bench *bench)
{
    struct server *etcd = &own.etcd;
    etcd->name = "etcd";
    char data[PATH_BYTES], client[80], peer[80], cluster[96];
    (void)snprintf(etcd->target, sizeof etcd->target, "127.0.0.1:%u", free_port());
    (void)snprintf(data, sizeof data, "%s/etcd", own.dir);
    (void)snprintf(client, sizeof client, "http://%s", etcd->target);
    (void)snprintf(peer, sizeof peer, "http://127.0.0.1:%u", free_port());
    (void)snprintf(cluster, sizeof cluster, "etcd=%s", peer);
    child_start(etcd, (char *const[]){
                          lend(bench->options.etcd), lend("--name"), lend("etcd"),
                          lend("--data-dir"), data, lend("--listen-client-urls"), client,
                          lend("--advertise-client-urls"), client, lend("--listen-peer-urls"), peer,
                          lend("--initial-advertise-peer-urls"), peer, lend("--initial-cluster"),
                          cluster, lend("--log-level"), lend("warn"), NULL});
    await_port(etcd);
}

const char *server_etcd(void)
{
    return own.etcd.pid != 0 ? own.etcd.target : NULL;
}

static void nodes_make(struct bench *bench)
{
    static char names[BENCH_NODES_MAX][16];
    struct bench_options *o = &bench->options;
    own.node_count = o->nodes;
    own.nodes = xcalloc(o->nodes, sizeof *own.nodes);
    size_t at = 0;
    for (uint32_t i = 0; i < o->nodes; i++) {
        struct server *server = &own.nodes[i];
        (void)snprintf(names[i], sizeof names[i], "node-%u", i);
        server->name = names[i];
        if (o->config != NULL) {
            (void)snprintf(server->config, sizeof server->config, "%s", o->config);
            (void)snprintf(server->target, sizeof server->target, "%s", o->target);
            return;
        }
        (void)snprintf(server->config, sizeof server->config, "%s/%s.toml", own.dir, server->name);
        (void)snprintf(server->target, sizeof server->target, "127.0.0.1:%u", free_port());
        at += (size_t)snprintf(own.targets + at, sizeof own.targets - at, "%s%s", i != 0 ? "," : "",
                               server->target);
        config_write(bench, server);
    }
    o->target = own.targets;
}

void server_start(struct bench *bench)
{
    struct bench_options *o = &bench->options;
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) { /* inherited by the server */
        files.rlim_cur = files.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &files);
    }
    const char *base = o->dir != NULL ? o->dir : getenv("TMPDIR");
    (void)snprintf(own.dir, sizeof own.dir, "%s/silo-bench-XXXXXX",
                   base != NULL && base[0] != '\0' ? base : "/tmp");
    if (mkdtemp(own.dir) == NULL) {
        bench_die("%s: %s", own.dir, strerror(errno));
    }
    bench->server = &own.etcd;
    if (o->nodes > 1) {
        etcd_start(bench);
    }
    nodes_make(bench);
    server_restart(bench);
    server_wait_ready(bench);
    if (o->keep) {
        (void)fprintf(stderr, "server %ld at %s, files in %s\n", o->pid, o->target, own.dir);
    }
}

long server_pid(uint32_t node)
{
    return node < own.node_count ? own.nodes[node].pid : 0;
}

uint32_t server_count(void)
{
    return own.node_count;
}

const char *server_name(uint32_t node)
{
    return own.nodes[node].name;
}

const char *server_address(uint32_t node)
{
    return own.nodes[node].target;
}

void server_signal(uint32_t node, int signal)
{
    if (own.nodes[node].pid != 0) {
        (void)kill(own.nodes[node].pid, signal);
    }
}

void server_wait_end(struct bench *bench, uint32_t node, bool orderly)
{
    struct server *server = &own.nodes[node];
    if (server->pid == 0) {
        return;
    }
    int status = 0;
    const int64_t start = env_mono_us(&env_system);
    while (!child_ended(server, &status)) {
        if (env_mono_us(&env_system) - start > STOP_US) {
            (void)kill(server->pid, SIGKILL);
        }
        (void)usleep(PAUSE_US);
    }
    if (orderly && !(WIFEXITED(status) && WEXITSTATUS(status) == 0)) {
        print_log(server);
        bench_check(bench, false, "%s ended in an orderly way", server->name);
    }
}

void server_stop(struct bench *bench, int signal)
{
    for (uint32_t i = 0; i < own.node_count; i++) {
        server_signal(i, signal);
    }
    for (uint32_t i = 0; i < own.node_count; i++) {
        server_wait_end(bench, i, signal == SIGTERM);
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

static void child_kill(struct server *server)
{
    if (server->pid != 0) {
        (void)kill(server->pid, SIGKILL);
        (void)waitpid(server->pid, NULL, 0);
        server->pid = 0;
    }
}

void server_free(struct bench *bench)
{
    if (bench->server == NULL) {
        return;
    }
    for (uint32_t i = 0; i < own.node_count; i++) {
        child_kill(&own.nodes[i]);
    }
    child_kill(&own.etcd);
    if (!bench->options.keep) {
        (void)nftw(own.dir, remove_one, 32, FTW_DEPTH | FTW_PHYS);
    }
    bench->server = NULL;
    free(own.nodes);
    own.nodes = NULL;
    own.node_count = 0;
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
        (void)nftw(own.dir, wal_look, 32, FTW_PHYS);
        for (size_t i = 0; i < walled_count; i++) {
            sum += walled[i].highest;
        }
    }
    return sum;
}
