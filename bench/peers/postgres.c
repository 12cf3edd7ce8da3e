/*
 * bench/peers/postgres.c - a driver for a queue table in PostgreSQL, with FOR UPDATE SKIP LOCKED.
 *
 * Variant "lease": each step commits; a reservation writes who has the job until when. Variant
 * "lock": the reservation is a row lock, and lasts as long as the transaction that the completion
 * commits. Statements are prepared once; the statements of a step go in one write. Several jobs in
 * a step are one statement over an array.
 */
#include <arpa/inet.h>
#include <libpq-fe.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "load.h"

#define ID_DIGITS 20u

struct connection {
    PGconn *pg;
    bool begun;                                    /* a transaction is open */
    bool lock;                                     /* the variant */
    uint32_t jobs;                                 /* the rows of this step so far */
    char ids[LOAD_BULK_MAX * (ID_DIGITS + 1) + 3]; /* array of what is held */
    char payloads[LOAD_BULK_MAX * 2 * (LOAD_PAYLOAD + 4) + 3];
    char count[16];
};

struct statement {
    const char *name, *text;
};

#define NEXT "SELECT id FROM job WHERE state = 0 ORDER BY id LIMIT $1::int FOR UPDATE SKIP LOCKED"

static const struct statement statements[] = {
    {"begin", "BEGIN"},
    {"commit", "COMMIT"},
    {"enqueue", "INSERT INTO job (payload) SELECT unnest($1::text[])"},
    {"enqueue_one", "INSERT INTO job (payload) VALUES ($1)"},
    {"lease",
     "UPDATE job SET state = 1, attempt = attempt + 1, leased_until = now() + interval '10 s' "
     "WHERE id = ANY(ARRAY(" NEXT ")) RETURNING id, payload"},
    {"lock", "SELECT id, payload FROM job WHERE state = 0 ORDER BY id LIMIT $1::int "
             "FOR UPDATE SKIP LOCKED"},
    {"complete", "DELETE FROM job WHERE id = ANY($1::bigint[])"},
};

static void pg_check(PGconn *pg, bool ok)
{
    if (!ok) {
        load_die("postgres: %s", PQerrorMessage(pg));
    }
}

static char *array_of_payloads(struct connection *connection, uint32_t count)
{
    char *at = connection->payloads;
    *at++ = '{';
    for (uint32_t i = 0; i < count; i++) {
        *at++ = '"';
        for (uint32_t k = 0; k < LOAD_PAYLOAD; k++) {
            if (load_payload[k] == '"' || load_payload[k] == '\\') {
                *at++ = '\\';
            }
            *at++ = load_payload[k];
        }
        *at++ = '"';
        *at++ = i + 1 < count ? ',' : '}';
    }
    *at = '\0';
    return connection->payloads;
}

static void pg_open(struct client *client, const struct load_options *options)
{
    struct connection *connection = calloc(1, sizeof *connection);
    if (connection == NULL) {
        load_die("out of memory");
    }
    char text[128];
    (void)snprintf(text, sizeof text,
                   "host=127.0.0.1 port=%u user=postgres dbname=postgres sslmode=disable",
                   options->port);
    connection->lock = strcmp(options->variant, "lock") == 0;
    connection->pg = PQconnectdb(text);
    pg_check(connection->pg, PQstatus(connection->pg) == CONNECTION_OK);
    for (size_t i = 0; i < sizeof statements / sizeof statements[0]; i++) {
        PGresult *result =
            PQprepare(connection->pg, statements[i].name, statements[i].text, 0, NULL);
        pg_check(connection->pg, PQresultStatus(result) == PGRES_COMMAND_OK);
        PQclear(result);
    }
    pg_check(connection->pg, PQenterPipelineMode(connection->pg) == 1);
    client->state = connection;
    client->fd = PQsocket(connection->pg);
}

static void queue(struct connection *connection, const char *name, const char *value)
{
    pg_check(connection->pg,
             PQsendQueryPrepared(connection->pg, name, value != NULL ? 1 : 0,
                                 value != NULL ? &value : NULL, NULL, NULL, 0) == 1);
}

static void pg_send(struct client *client)
{
    struct connection *connection = client->state;
    connection->jobs = 0;
    switch (client->step) {
    case STEP_ENQUEUE:
        if (client->wanted == 1) {
            (void)snprintf(connection->payloads, sizeof connection->payloads, "%.*s",
                           (int)LOAD_PAYLOAD, load_payload);
            queue(connection, "enqueue_one", connection->payloads);
        } else {
            queue(connection, "enqueue", array_of_payloads(connection, client->wanted));
        }
        break;
    case STEP_RESERVE:
        (void)snprintf(connection->count, sizeof connection->count, "%u", client->wanted);
        if (connection->lock && !connection->begun) {
            queue(connection, "begin", NULL);
            connection->begun = true;
        }
        queue(connection, connection->lock ? "lock" : "lease", connection->count);
        break;
    case STEP_COMPLETE:
        queue(connection, "complete", connection->ids);
        if (connection->lock) {
            queue(connection, "commit", NULL);
            connection->begun = false;
        }
        break;
    }
    pg_check(connection->pg, PQpipelineSync(connection->pg) == 1);
}

/* The rows of a reservation as the text of an array. */
static void hold(struct connection *connection, const PGresult *result)
{
    const int rows = PQntuples(result);
    size_t len = 0;
    connection->ids[len++] = '{';
    for (int i = 0; i < rows; i++) {
        if ((uint32_t)PQgetlength(result, i, 1) != LOAD_PAYLOAD) {
            load_die("postgres answers with %d bytes of payload", PQgetlength(result, i, 1));
        }
        len += (size_t)snprintf(connection->ids + len, ID_DIGITS + 2, "%s%s", i != 0 ? "," : "",
                                PQgetvalue(result, i, 0));
    }
    (void)snprintf(connection->ids + len, 2, "}");
    connection->jobs = (uint32_t)rows;
}

static bool pg_receive(struct client *client, uint32_t *ret_jobs)
{
    struct connection *connection = client->state;
    PGconn *pg = connection->pg;
    pg_check(pg, PQconsumeInput(pg) == 1);
    while (PQisBusy(pg) == 0) {
        PGresult *result = PQgetResult(pg);
        if (result == NULL) {
            continue; /* between two statements of a step */
        }
        const ExecStatusType status = PQresultStatus(result);
        if (status == PGRES_TUPLES_OK) {
            hold(connection, result);
        } else if (status == PGRES_COMMAND_OK) {
            const char *rows = PQcmdTuples(result);
            connection->jobs += *rows != '\0' ? (uint32_t)strtoul(rows, NULL, 10) : 0;
        } else if (status != PGRES_PIPELINE_SYNC) {
            load_die("postgres: %s", PQresultErrorMessage(result));
        }
        PQclear(result);
        if (status == PGRES_PIPELINE_SYNC) {
            *ret_jobs = connection->jobs;
            return true;
        }
    }
    return false;
}

static uint64_t pg_left(struct client *client)
{
    struct connection *connection = client->state;
    pg_check(connection->pg, PQexitPipelineMode(connection->pg) == 1);
    PGresult *result = PQexec(connection->pg, "SELECT count(*) FROM job");
    pg_check(connection->pg, PQresultStatus(result) == PGRES_TUPLES_OK);
    const uint64_t left = strtoull(PQgetvalue(result, 0, 0), NULL, 10);
    PQclear(result);
    return left;
}

int main(int argc, char **argv)
{
    static const struct driver driver = {
        .open = pg_open, .send = pg_send, .receive = pg_receive, .left = pg_left};
    return load_main(argc, argv, &driver);
}
