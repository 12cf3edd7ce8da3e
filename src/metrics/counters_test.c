/* metrics/counters_test.c - names and series are what those who scrape them expect. */
#include "metrics/counters.h"

#include <ctype.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/test.h"
#include "metrics/source.h"

static bool ends(const char *text, const char *with)
{
    const size_t len = strlen(text);
    const size_t tail = strlen(with);
    return len >= tail && strcmp(text + len - tail, with) == 0;
}

static void names_say_what_they_are(void **state)
{
    (void)state;
    for (size_t i = 0; i < counter_families(); i++) {
        const struct counter_family *family = counter_family((enum counter_family_id)i);
        assert_int_equal(strncmp(family->name, "silo_", 5), 0);
        for (const char *at = family->name; *at != '\0'; at++) {
            assert_true(islower((unsigned char)*at) || *at == '_');
        }
        assert_int_equal(ends(family->name, "_total"), family->type == TYPE_TOTAL);
        assert_int_equal(strstr(family->name, "bytes") != NULL, family->unit == UNIT_BYTES);
        assert_int_equal(strstr(family->name, "microseconds") != NULL,
                         family->unit == UNIT_MICROSECONDS);
        assert_true(family->help[0] != '\0');
        for (size_t j = 0; j < i; j++) {
            assert_string_not_equal(family->name, counter_family((enum counter_family_id)j)->name);
        }
    }
}

static bool same(const struct counter_series *a, const struct counter_series *b)
{
    return a->family == b->family && strcmp(a->value, b->value) == 0;
}

static void series_are_told_apart(void **state)
{
    (void)state;
    size_t used[64] = {0};
    for (int scope = 0; scope < COUNTER_SCOPES; scope++) {
        const struct counter_table *table = counter_table((enum counter_scope)scope);
        assert_true(table->count != 0 && table->count <= COUNTER_NUMBERS_MAX);
        assert_true(table->label[0] != '\0');
        for (size_t i = 0; i < table->count; i++) {
            const struct counter_series *series = &table->series[i];
            const struct counter_family *family = counter_family(series->family);
            assert_int_equal(family->label[0] != '\0', series->value[0] != '\0');
            used[series->family]++;
            for (size_t j = 0; j < i; j++) {
                assert_false(same(series, &table->series[j]));
            }
        }
    }
    for (size_t i = 0; i < counter_families(); i++) {
        assert_true(used[i] != 0);
    }
}

/* Values of the family's label in the scope's table, "a, b"; the scope it belongs to. */
static const struct counter_table *table_of(enum counter_family_id id, struct buf *values)
{
    const struct counter_table *found = NULL;
    for (int scope = 0; scope < COUNTER_SCOPES; scope++) {
        const struct counter_table *table = counter_table((enum counter_scope)scope);
        for (size_t i = 0; i < table->count; i++) {
            if (table->series[i].family == id) {
                found = table;
                buf_printf(values, "%s%s", values->len != 0 ? ", " : "", table->series[i].value);
            }
        }
    }
    buf_u8(values, 0);
    return found;
}

static void page_row(struct buf *page, enum counter_family_id id)
{
    const struct counter_family *family = counter_family(id);
    struct buf values;
    buf_init(&values, 4096);
    const struct counter_table *table = table_of(id, &values);
    buf_printf(page, "| `%s` | %s | `%s`", family->name,
               family->type == TYPE_TOTAL ? "total" : "gauge", table->label);
    if (family->label[0] != '\0') {
        buf_printf(page, ", `%s`: %s", family->label, (const char *)values.ptr);
    }
    buf_printf(page, " | %s |\n", family->help);
    buf_deinit(&values);
}

/* docs/reference/counters.md has a row for each family, made from the tables. */
static void the_page_says_what_is_counted(void **state)
{
    (void)state;
    struct buf page;
    buf_init(&page, 1u << 20);
    for (size_t i = 0; i < counter_families(); i++) {
        page_row(&page, (enum counter_family_id)i);
    }
    buf_u8(&page, 0);
    char path[4096];
    (void)snprintf(path, sizeof path, "%s/docs/reference/counters.md", getenv("SILO_SOURCE_DIR"));
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    static char text[1u << 20];
    const size_t len = fread(text, 1, sizeof text - 1, file);
    text[len] = '\0';
    (void)fclose(file);
    if (strstr(text, (const char *)page.ptr) == NULL) {
        fail_msg("%s wants these rows:\n%s", path, (const char *)page.ptr);
    }
    buf_deinit(&page);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_say_what_they_are),
        cmocka_unit_test(series_are_told_apart),
        cmocka_unit_test(the_page_says_what_is_counted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
