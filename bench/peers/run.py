#!/usr/bin/env python3
"""Silo beside other job systems: the same job, the same closed loop, the same promise, one after the other in one run.

Usage: bench/peers/run.py [--seconds 10] [--clients 64] [--json FILE] [--only NAME,NAME] [--smoke]

Needs build/bin/silo and build/bin/silo-bench; installs beanstalkd, redis-server, postgresql and libpq-dev by apt-get
and BullMQ by npm where they are missing. Every server is started here, on loopback, with its files in a temporary
directory under --dir, and ended by its process id; a service that the system runs is not used. README.md says what each
row promises and how to read the table.
"""

import argparse
import contextlib
import json
import os
import pwd
import re
import resource
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
TICKS = os.sysconf("SC_CLK_TCK")
START_SECONDS = 60
STOP_SECONDS = 60
LOAD_SPARE_SECONDS = 120  # what a load may take beyond its seconds: connecting, the last rounds
SMOKE = {"seconds": 1.0, "rounds": 1, "tries": 1, "clients": 8, "bulk_clients": 2, "bulk": 10}

# What must be true when a call has returned, for two rows to be compared.
SYNCED = "synced"    # on the disk: survives loss of power
WRITTEN = "written"  # handed to the operating system: survives the end of the process

PACKAGES = {  # package: (what tells that it is there, service that it may start)
    "beanstalkd": ("/usr/bin/beanstalkd", "beanstalkd"),
    "redis-server": ("/usr/bin/redis-server", "redis-server"),
    "postgresql": ("/usr/lib/postgresql", "postgresql"),
    "libpq-dev": ("/usr/include/postgresql/libpq-fe.h", None),
}


class Failure(Exception):
    """Ends the run with a message."""


def say(text):
    print(text, file=sys.stderr, flush=True)


# --- what is needed ---

def command(words, **options):
    try:
        result = subprocess.run(words, capture_output=True, text=True, check=False, **options)
    except FileNotFoundError as error:
        raise Failure(f"{words[0]}: not found") from error
    if result.returncode != 0:
        raise Failure(f"{' '.join(words)}\n{result.stdout}{result.stderr}")
    return result.stdout


def service_active(service):
    """Whether the system runs it now. Without a service manager it does not."""
    if shutil.which("systemctl") is None:
        return False
    return subprocess.run(["systemctl", "is-active", "--quiet", service], check=False).returncode == 0


def check_programs(options):
    programs = ["node", "npm", "setpriv", os.environ.get("CC", "cc")]
    if any(row["system"] == "silo" for row in options.rows):
        programs += [os.path.join(options.bin, name) for name in ("silo", "silo-bench")]
    for program in programs:
        if shutil.which(program) is None:
            raise Failure(f"{program}: not found")


def install_packages():
    missing = [name for name, (sign, _) in PACKAGES.items() if not os.path.exists(sign)]
    if not missing:
        return
    root = [] if os.geteuid() == 0 else ["sudo"]
    services = [PACKAGES[name][1] for name in missing if PACKAGES[name][1]]
    ran = {service for service in services if service_active(service)}
    say(f"installing {' '.join(missing)}")
    command(root + ["apt-get", "update", "-qq"])
    command(root + ["env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "install", "-y", "-qq",
                    "--no-install-recommends"] + missing)
    for service in services:
        if service not in ran and service_active(service):
            say(f"stopping the service {service}, which the installation started")
            command(root + ["systemctl", "disable", "--now", service])


def install_modules():
    with open(os.path.join(HERE, "package-lock.json"), encoding="utf-8") as file:
        wanted = json.load(file)["packages"]
    for name, package in wanted.items():
        manifest = os.path.join(HERE, name, "package.json")
        if not name or package.get("optional"):
            continue
        try:
            with open(manifest, encoding="utf-8") as file:
                if json.load(file)["version"] == package["version"]:
                    continue
        except FileNotFoundError:
            pass
        say("installing the modules of package-lock.json")
        command(["npm", "ci", "--ignore-scripts"], cwd=HERE)
        return


def build_loads(directory):
    """Compiles the two load programs; returns their directory."""
    include = command(["pg_config", "--includedir"]).strip() if shutil.which("pg_config") else "/usr/include/postgresql"
    for name, libraries in (("beanstalk", []), ("postgres", ["-lpq"])):
        command([os.environ.get("CC", "cc"), "-std=gnu11", "-O2", "-Wall", "-Wextra", "-I", include,
                 os.path.join(HERE, f"{name}.c"), os.path.join(HERE, "load.c"), os.path.join(ROOT, "bench", "hist.c"),
                 "-o", os.path.join(directory, name)] + libraries)
    return directory


# --- processes ---

def process_times(pid):
    """(parent, CPU seconds of the process and of its children that ended), or None when there is no such process."""
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as stat:
            fields = stat.read().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return int(fields[1]), sum(int(ticks) for ticks in fields[11:15]) / TICKS


def tree_cpu(pid):
    """CPU seconds of a process and everything that descends from it, living or ended."""
    every = {int(name): process_times(name) for name in os.listdir("/proc") if name.isdigit()}
    total, todo = 0.0, [pid]
    while todo:
        one = todo.pop()
        if every.get(one) is None:
            continue
        total += every[one][1]
        todo += [child for child, times in every.items() if times is not None and times[0] == one]
    return total


def others_cpu():
    """CPU seconds of the machine but for this program and the children that it waited for."""
    with open("/proc/stat", encoding="ascii") as stat:
        user, nice, system, _idle, _iowait, irq, softirq, steal = (int(n) for n in stat.readline().split()[1:9])
    ours = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return (user + nice + system + irq + softirq + steal) / TICKS - sum(u.ru_utime + u.ru_stime for u in ours)


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def stop(process, number=signal.SIGTERM):
    if process.poll() is None:
        process.send_signal(number)
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextlib.contextmanager
def server(words, port, directory, user=None, stop_signal=signal.SIGTERM):
    """Runs a server until the block is left; yields its process id once it accepts connections. It ends with us."""
    as_user = ["--reuid", user, "--regid", user, "--clear-groups"] if user else []
    log_path = os.path.join(directory, "server.log")
    with open(log_path, "wb") as log:
        process = subprocess.Popen(["setpriv", "--pdeathsig", "KILL"] + as_user + words, cwd=directory,
                                   stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT)
    try:
        deadline = time.monotonic() + START_SECONDS
        while True:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            if process.poll() is not None or time.monotonic() > deadline:
                with open(log_path, encoding="utf-8", errors="replace") as log:
                    raise Failure(f"{words[0]} did not start\n{log.read()[-4000:]}")
            time.sleep(0.02)
        yield process.pid
    finally:
        stop(process, stop_signal)


def load_line(load, seconds, what):
    """The next line of a load program; what it says on standard error goes to ours."""
    timer = signal.setitimer  # a line that never comes must not hang the run
    timer(signal.ITIMER_REAL, seconds)
    try:
        line = load.stdout.readline()
    finally:
        timer(signal.ITIMER_REAL, 0)
    if not line:
        raise Failure(f"{load.args[0]} ended with status {load.wait()} {what}")
    return line


def run_load(words, pid, seconds):
    """Runs a load against the server `pid`; returns the figures of a row."""
    load = subprocess.Popen(["setpriv", "--pdeathsig", "TERM"] + words, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                            text=True, cwd=HERE)
    try:
        if load_line(load, START_SECONDS, "before it was ready") != "ready\n":
            raise Failure(f"{words[0]} is not ready")
        before = tree_cpu(pid)
        load.stdin.write("go\n")
        load.stdin.flush()
        figures = json.loads(load_line(load, seconds + LOAD_SPARE_SECONDS, "while it ran"))
        server_cpu = tree_cpu(pid) - before
        load.stdin.close()
        if load.wait(STOP_SECONDS) != 0:
            raise Failure(f"{words[0]} ended with status {load.returncode}")
    finally:
        stop(load)
    if figures["jobs"] == 0:
        raise Failure(f"{' '.join(words)}: no job was completed in time")
    if figures["left"] != 0:
        raise Failure(f"{' '.join(words)}: {figures['left']} jobs were left in the queue")
    return {
        "jobs_per_s": figures["jobs"] / figures["seconds"],
        "jobs": figures["jobs"],
        "enqueue_us": figures["enqueue_us"],
        "reserve_us": figures.get("reserve_us"),
        "complete_us": figures.get("complete_us"),
        "server_cpu_us_per_job": server_cpu * 1e6 / figures["total"],
        "load_cpu_us_per_job": figures["cpu_s"] * 1e6 / figures["total"],
    }


# --- the systems; each function runs one row ---

def clients_of(row, options):
    return options.bulk_clients if row["bulk"] > 1 else options.clients


def load_words(row, options, port):
    return ["--port", str(port), "--clients", str(clients_of(row, options)), "--bulk", str(row["bulk"]),
            "--seconds", str(options.seconds)]


def run_silo(row, options, directory):
    result = os.path.join(directory, "figures.json")
    scenario = "bulk-life" if row["bulk"] > 1 else "life"
    words = [os.path.join(options.bin, "silo-bench"), scenario, "--serve",
             "--dir", directory, "--clients", str(clients_of(row, options)), "--seconds", str(options.seconds),
             "--payload", "64", "--interval-ms", "0", "--fsync", "1" if row["durable"] == SYNCED else "0",
             "--json", result]
    if row["bulk"] > 1:
        words += ["--bulk", str(row["bulk"]), "--batch", str(row["bulk"])]
    command(words, timeout=options.seconds + LOAD_SPARE_SECONDS)
    with open(result, encoding="utf-8") as file:
        figures = json.load(file)
    facts, latency = figures["facts"], figures["latency_us"]
    return {
        "jobs_per_s": facts["jobs_per_s"],
        "jobs": facts["jobs"],
        "enqueue_us": latency["enqueue"],
        "reserve_us": latency["lease"],
        "complete_us": latency["report"],
        "server_cpu_us_per_job": facts["jobs_server_cpu_us_each"],
        "load_cpu_us_per_job": facts["jobs_bench_cores"] * 1e6 / facts["jobs_per_s"],
    }


def run_beanstalkd(row, options, directory):
    data = os.path.join(directory, "binlog")
    os.mkdir(data)
    port = free_port()
    with server(["/usr/bin/beanstalkd", "-l", "127.0.0.1", "-p", str(port), "-b", data, "-f", "0"], port,
                directory) as pid:
        return run_load([os.path.join(options.loads, "beanstalk")] + load_words(row, options, port), pid,
                        options.seconds)


def run_bullmq(row, options, directory):
    port = free_port()
    words = ["/usr/bin/redis-server", "--bind", "127.0.0.1", "--port", str(port), "--dir", directory, "--save", "",
             "--appendonly", "yes", "--appendfsync", "always" if row["durable"] == SYNCED else "everysec",
             "--maxmemory-policy", "noeviction"]
    with server(words, port, directory) as pid:
        load = [shutil.which("node"), os.path.join(HERE, "bullmq.mjs"), "--processes", str(options.node_processes)]
        return run_load(load + load_words(row, options, port), pid, options.seconds)


POSTGRES_SETTINGS = """
listen_addresses = '127.0.0.1'
unix_socket_directories = ''
max_connections = {connections}
fsync = on
synchronous_commit = on
shared_buffers = 256MB
max_wal_size = 4GB
autovacuum_naptime = 5s
"""
POSTGRES_TABLE = """
CREATE TABLE job (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    state smallint NOT NULL DEFAULT 0,
    attempt integer NOT NULL DEFAULT 0,
    leased_until timestamptz,
    payload text NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 10000);
CREATE INDEX job_waiting ON job (id) WHERE state = 0;
"""


def run_postgres(row, options, directory):
    programs = postgres_programs()
    user = "postgres" if os.geteuid() == 0 else None  # it does not run as root
    data = os.path.join(directory, "data")
    os.mkdir(data, 0o700)
    if user:
        os.chown(data, pwd.getpwnam(user).pw_uid, pwd.getpwnam(user).pw_gid)
    as_user = ["setpriv", "--reuid", user, "--regid", user, "--clear-groups"] if user else []
    command(as_user + [os.path.join(programs, "initdb"), "-D", data, "-U", "postgres", "--auth", "trust", "--no-sync",
                       "--encoding", "UTF8", "--locale", "C"], cwd=directory)
    with open(os.path.join(data, "postgresql.conf"), "a", encoding="utf-8") as file:
        file.write(POSTGRES_SETTINGS.format(connections=max(options.clients, options.bulk_clients) + 20))
    port = free_port()
    with server([os.path.join(programs, "postgres"), "-D", data, "-p", str(port)], port, directory, user,
                signal.SIGINT) as pid:
        psql = [os.path.join(programs, "psql"), "-h", "127.0.0.1", "-p", str(port), "-U", "postgres", "-q",
                "-v", "ON_ERROR_STOP=1"]
        wait_until_answers(psql)
        command(psql + ["-c", POSTGRES_TABLE])
        load = [os.path.join(options.loads, "postgres"), "--variant", row["variant"]]
        return run_load(load + load_words(row, options, port), pid, options.seconds)


def wait_until_answers(psql):
    """PostgreSQL listens some time before it lets anybody in."""
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            command(psql + ["-c", "SELECT 1"])
            return
        except Failure:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def postgres_programs():
    versions = sorted(os.listdir("/usr/lib/postgresql"), key=lambda name: [int(n) for n in re.findall(r"\d+", name)])
    return os.path.join("/usr/lib/postgresql", versions[-1], "bin")


# --- the rows ---

def rows(bulk):
    def row(name, system, run, bulk, durable, variant=""):
        return {"name": name, "system": system, "run": run, "bulk": bulk, "durable": durable, "variant": variant}
    return [
        row("silo", "silo", run_silo, 1, SYNCED),
        row("beanstalkd -f 0", "beanstalkd", run_beanstalkd, 1, SYNCED),
        row("postgres, lease", "postgres", run_postgres, 1, SYNCED, "lease"),
        row("postgres, row lock", "postgres", run_postgres, 1, SYNCED, "lock"),
        row("bullmq, always", "bullmq", run_bullmq, 1, SYNCED),
        row("silo", "silo", run_silo, bulk, SYNCED),
        row("beanstalkd -f 0", "beanstalkd", run_beanstalkd, bulk, SYNCED),
        row("postgres, lease", "postgres", run_postgres, bulk, SYNCED, "lease"),
        row("postgres, row lock", "postgres", run_postgres, bulk, SYNCED, "lock"),
        row("bullmq, always", "bullmq", run_bullmq, bulk, SYNCED),
        row("silo, fsync off", "silo", run_silo, 1, WRITTEN),
        row("bullmq, everysec", "bullmq", run_bullmq, 1, WRITTEN),
        row("silo, fsync off", "silo", run_silo, bulk, WRITTEN),
        row("bullmq, everysec", "bullmq", run_bullmq, bulk, WRITTEN),
    ]


def versions():
    def first(words, pattern):
        return re.search(pattern, command(words)).group(1)
    with open(os.path.join(HERE, "node_modules", "bullmq", "package.json"), encoding="utf-8") as file:
        bullmq = json.load(file)["version"]
    return {
        "beanstalkd": first(["/usr/bin/beanstalkd", "-v"], r"beanstalkd (\S+)"),
        "redis": first(["/usr/bin/redis-server", "--version"], r"v=(\S+)"),
        "postgres": first([os.path.join(postgres_programs(), "postgres"), "--version"], r"\) (\S+)"),
        "bullmq": bullmq,
        "node": first([shutil.which("node"), "--version"], r"v(\S+)"),
    }


def disk_sync_us(directory):
    """Median of a 4 KiB append and its fdatasync, in microseconds: what the synced rows are made of."""
    times = []
    with open(os.path.join(directory, "probe"), "wb", buffering=0) as file:
        for _ in range(200):
            start = time.monotonic()
            file.write(bytes(4096))
            os.fdatasync(file.fileno())
            times.append(time.monotonic() - start)
    return round(sorted(times)[len(times) // 2] * 1e6)


def run_row(row, options, directory):
    calls = f"bulk {row['bulk']}" if row["bulk"] > 1 else "single"
    place = tempfile.mkdtemp(dir=directory)
    os.chmod(place, 0o711)
    result = {"name": row["name"], "calls": calls, "durable": row["durable"], "clients": clients_of(row, options),
              "load_average": round(os.getloadavg()[0], 2), "disk_sync_us": disk_sync_us(place)}
    start, others = time.monotonic(), others_cpu()
    result.update(row["run"](row, options, place))
    result["others_cores"] = max(0.0, (others_cpu() - others) / (time.monotonic() - start))  # ticks are coarse
    shutil.rmtree(place)
    say(f"{row['name']:20} {calls:9} {row['durable']:8} {result['jobs_per_s']:9.0f} jobs/s, "
        f"others used {result['others_cores']:.2f} cores")
    return result


def run_quiet(row, options, directory):
    """A row, again while others use more than --quiet cores, at most --tries times; the quietest counts."""
    tries = []
    while len(tries) < options.tries:
        tries.append(run_row(row, options, directory))
        if tries[-1]["others_cores"] <= options.quiet:
            break
    return min(tries, key=lambda run: run["others_cores"])


def run_all(options, directory):
    """Every row `rounds` times, in turn; of each the run with the median rate."""
    rounds = [[run_quiet(row, options, directory) for row in options.rows] for _ in range(options.rounds)]
    results = []
    for runs in zip(*rounds):
        by_rate = sorted(runs, key=lambda run: run["jobs_per_s"])
        results.append(dict(by_rate[(len(runs) - 1) // 2], all_jobs_per_s=[run["jobs_per_s"] for run in runs]))
    compare(results)
    return results


def compare(results):
    """Adds what share of ours each row of a peer comes to; compared is what calls and promises alike."""
    ours = {(r["calls"], r["durable"]): r["jobs_per_s"] for r in results if r["name"].startswith("silo")}
    for result in results:
        base = ours.get((result["calls"], result["durable"]))
        result["of_ours"] = result["jobs_per_s"] / base if base else None


def print_table(report):
    rounds = f", median of {report['rounds']}" if report["rounds"] > 1 else ""
    print(f"\n{report['clients']} clients in single calls, {report['bulk_clients']} in bulk calls, "
          f"{report['seconds']:g} s a row{rounds}, "
          f"{report['cores']} cores for server and load together")
    print(", ".join(f"{name} {version}" for name, version in report["versions"].items()))
    print("load average before a row {:.2f} to {:.2f}, cores that others used {:.2f} to {:.2f}, "
          "4 KiB append and fdatasync {} to {} us\n".format(
              *bounds(report, "load_average"), *bounds(report, "others_cores"), *bounds(report, "disk_sync_us")))
    print("| system | calls | promise | jobs/s | of ours | enqueue p50 ms | p99 ms | server CPU us/job "
          "| load CPU us/job |")
    print("|---|---|---|---:|---:|---:|---:|---:|---:|")
    for r in report["rows"]:
        ratio = "" if r["of_ours"] is None else f"{r['of_ours']:.2f}"
        print(f"| {r['name']} | {r['calls']} | {r['durable']} | {r['jobs_per_s']:.0f} | {ratio} "
              f"| {r['enqueue_us']['p50'] / 1e3:.2f} | {r['enqueue_us']['p99'] / 1e3:.2f} "
              f"| {r['server_cpu_us_per_job']:.1f} | {r['load_cpu_us_per_job']:.1f} |")


def bounds(report, name):
    values = [row[name] for row in report["rows"]]
    return min(values), max(values)


def parse():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=10, help="length of each row (10)")
    parser.add_argument("--rounds", type=int, default=1, help="times each row is run; the median counts (1)")
    parser.add_argument("--quiet", type=float, default=0.25, metavar="CORES",
                        help="with --tries: a row is good when other processes used less than this (0.25)")
    parser.add_argument("--tries", type=int, default=1, help="times a row is run until it is good (1)")
    parser.add_argument("--clients", type=int, default=64, help="closed loops of single calls (64)")
    parser.add_argument("--bulk-clients", type=int, default=16, help="closed loops of bulk calls (16)")
    parser.add_argument("--bulk", type=int, default=100, help="jobs of a bulk call (100)")
    parser.add_argument("--node-processes", type=int, default=1, help="processes that share BullMQ's clients (1)")
    parser.add_argument("--only", help="systems to run: silo, beanstalkd, postgres, bullmq (all)")
    parser.add_argument("--bin", default=os.path.join(ROOT, "build", "bin"), help="where silo and silo-bench are")
    parser.add_argument("--dir", default=tempfile.gettempdir(), help="where the servers keep their files")
    parser.add_argument("--json", metavar="FILE", help="also write the figures as JSON")
    parser.add_argument("--smoke", action="store_true", help="1 s a row, few clients: does every row work?")
    options = parser.parse_args()
    if options.smoke:
        vars(options).update(SMOKE)
    names = {row["system"] for row in rows(options.bulk)}
    only = set(options.only.split(",")) if options.only else names
    if not only <= names:
        parser.error(f"--only: there is no {', '.join(sorted(only - names))}")
    options.rows = [row for row in rows(options.bulk) if row["system"] in only]
    return options


def interrupted(number, _frame):
    raise Failure("no answer in time" if number == signal.SIGALRM else f"ended by signal {number}")


def main():
    options = parse()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGALRM):
        signal.signal(number, interrupted)
    try:
        check_programs(options)
        install_packages()
        install_modules()
        with tempfile.TemporaryDirectory(prefix="silo-peers-", dir=options.dir) as directory:
            os.chmod(directory, 0o711)  # PostgreSQL runs as a user of its own
            options.loads = build_loads(directory)
            report = {"seconds": options.seconds, "rounds": options.rounds, "clients": options.clients,
                      "bulk_clients": options.bulk_clients, "cores": len(os.sched_getaffinity(0)), "versions": versions(),
                      "rows": run_all(options, directory)}
    except (Failure, subprocess.TimeoutExpired) as failure:
        say(f"run.py: {failure}")
        return 1
    print_table(report)
    if options.json:
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump(report, file, indent=1)
            file.write("\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
