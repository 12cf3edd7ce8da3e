/* fuzz/fuzz.c - the way in for libFuzzer, and the writing of seeds. */
#include "fuzz.h"

#include <stdio.h>

struct seeds {
    const char *dir;
    unsigned count;
};

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

void seed_put(struct seeds *seeds, uint8_t kind, struct bytes input)
{
    ASSERT(input.len < FUZZ_SEED_BYTES_MAX);
    char name[4096];
    const int len = snprintf(name, sizeof name, "%s/seed-%02u", seeds->dir, seeds->count++);
    ASSERT(len > 0 && (size_t)len < sizeof name);
    FILE *file = fopen(name, "wb");
    if (file == NULL) {
        perror(name);
        exit(1);
    }
    const bool good =
        fputc(kind, file) != EOF && fwrite(input.ptr, 1, input.len, file) == input.len;
    if (fclose(file) != 0 || !good) {
        perror(name);
        exit(1);
    }
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    if (*argc == 3 && strcmp((*argv)[1], "--seeds") == 0) {
        struct seeds seeds = {.dir = (*argv)[2]};
        fuzz_seeds(&seeds);
        (void)printf("%u seeds\n", seeds.count);
        exit(0);
    }
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_one(bytes_of(data, size));
    return 0;
}
