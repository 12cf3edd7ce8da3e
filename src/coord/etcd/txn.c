/* coord/etcd/txn.c - see txn.h. */
#include "coord/etcd/txn.h"

#include "base/assert.h"
#include "coord/etcd/message_int.h"

struct etcd_txn {
    struct arena *arena;
    Etcdserverpb__TxnRequest request;
    Etcdserverpb__Compare *ifs[ETCD_TXN_IFS_MAX];
    Etcdserverpb__RequestOp *dos[ETCD_TXN_DOS_MAX];
    Etcdserverpb__RequestOp *gets[ETCD_TXN_DOS_MAX];
};

struct etcd_txn *etcd_txn_begin(struct arena *arena)
{
    struct etcd_txn *txn = ARENA_NEW(arena, struct etcd_txn);
    txn->arena = arena;
    etcdserverpb__txn_request__init(&txn->request);
    txn->request.compare = txn->ifs;
    txn->request.success = txn->dos;
    txn->request.failure = txn->gets;
    return txn;
}

static Etcdserverpb__Compare *if_add(struct etcd_txn *txn, struct bytes key)
{
    ASSERT(txn->request.n_compare < ETCD_TXN_IFS_MAX);
    Etcdserverpb__Compare *compare = ARENA_NEW(txn->arena, Etcdserverpb__Compare);
    etcdserverpb__compare__init(compare);
    compare->key = message_data(key);
    txn->ifs[txn->request.n_compare++] = compare;
    return compare;
}

void etcd_txn_if_mod(struct etcd_txn *txn, struct bytes key, uint64_t mod)
{
    Etcdserverpb__Compare *compare = if_add(txn, key);
    compare->target = ETCDSERVERPB__COMPARE__COMPARE_TARGET__MOD;
    compare->target_union_case = ETCDSERVERPB__COMPARE__TARGET_UNION_MOD_REVISION;
    compare->mod_revision = (int64_t)mod;
}

void etcd_txn_if_lease(struct etcd_txn *txn, struct bytes key, int64_t lease)
{
    Etcdserverpb__Compare *compare = if_add(txn, key);
    compare->target = ETCDSERVERPB__COMPARE__COMPARE_TARGET__LEASE;
    compare->target_union_case = ETCDSERVERPB__COMPARE__TARGET_UNION_LEASE;
    compare->lease = lease;
}

void etcd_txn_if_there(struct etcd_txn *txn, struct bytes key)
{
    Etcdserverpb__Compare *compare = if_add(txn, key);
    compare->target = ETCDSERVERPB__COMPARE__COMPARE_TARGET__VERSION;
    compare->result = ETCDSERVERPB__COMPARE__COMPARE_RESULT__GREATER;
    compare->target_union_case = ETCDSERVERPB__COMPARE__TARGET_UNION_VERSION;
    compare->version = 0;
}

static Etcdserverpb__RequestOp *op_new(struct etcd_txn *txn)
{
    Etcdserverpb__RequestOp *op = ARENA_NEW(txn->arena, Etcdserverpb__RequestOp);
    etcdserverpb__request_op__init(op);
    return op;
}

static void do_add(struct etcd_txn *txn, Etcdserverpb__RequestOp *op)
{
    ASSERT(txn->request.n_success < ETCD_TXN_DOS_MAX);
    txn->dos[txn->request.n_success++] = op;
}

void etcd_txn_put(struct etcd_txn *txn, struct bytes key, struct bytes value, int64_t lease)
{
    Etcdserverpb__PutRequest *put = ARENA_NEW(txn->arena, Etcdserverpb__PutRequest);
    etcdserverpb__put_request__init(put);
    put->key = message_data(key);
    put->value = message_data(value);
    put->lease = lease;
    Etcdserverpb__RequestOp *op = op_new(txn);
    op->request_case = ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_PUT;
    op->request_put = put;
    do_add(txn, op);
}

void etcd_txn_delete(struct etcd_txn *txn, struct bytes key)
{
    Etcdserverpb__DeleteRangeRequest *gone =
        ARENA_NEW(txn->arena, Etcdserverpb__DeleteRangeRequest);
    etcdserverpb__delete_range_request__init(gone);
    gone->key = message_data(key);
    Etcdserverpb__RequestOp *op = op_new(txn);
    op->request_case = ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_DELETE_RANGE;
    op->request_delete_range = gone;
    do_add(txn, op);
}

void etcd_txn_else_get(struct etcd_txn *txn, struct bytes key)
{
    ASSERT(txn->request.n_failure < ETCD_TXN_DOS_MAX);
    Etcdserverpb__RangeRequest *range = ARENA_NEW(txn->arena, Etcdserverpb__RangeRequest);
    etcdserverpb__range_request__init(range);
    range->key = message_data(key);
    Etcdserverpb__RequestOp *op = op_new(txn);
    op->request_case = ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_RANGE;
    op->request_range = range;
    txn->gets[txn->request.n_failure++] = op;
}

struct bytes etcd_txn_end(struct etcd_txn *txn)
{
    return message_pack(txn->arena, &txn->request.base);
}

bool etcd_txn_read(struct arena *arena, struct bytes message, struct etcd_txn_answer *ret_answer)
{
    const Etcdserverpb__TxnResponse *answer =
        message_unpack(arena, &etcdserverpb__txn_response__descriptor, message);
    *ret_answer = (struct etcd_txn_answer){0};
    if (answer == NULL || !message_revision(answer->header, &ret_answer->revision)) {
        return false;
    }
    ret_answer->done = answer->succeeded != 0;
    for (size_t i = 0; i < answer->n_responses && !ret_answer->done && i < ETCD_TXN_DOS_MAX; i++) {
        const Etcdserverpb__ResponseOp *op = answer->responses[i];
        if (op->response_case != ETCDSERVERPB__RESPONSE_OP__RESPONSE_RESPONSE_RANGE) {
            return false;
        }
        if (op->response_range != NULL && op->response_range->n_kvs > 0) {
            ret_answer->rows[i] = message_row(op->response_range->kvs[0]);
        }
        ret_answer->count++;
    }
    return true;
}
