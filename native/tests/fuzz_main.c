/* fuzz_main.c - runs fuzz_model without libFuzzer, under any compiler's sanitizers:
 *
 *     fuzz_model CORPUS_FOLDER [SECONDS [SEED]]
 *
 * runs every file of the corpus, then random mutations of them for SECONDS. A crash or a
 * sanitizer's report leaves its input in fuzz_model.crash (current folder), which can be run
 * again in place of the folder. Equal seeds run equal inputs. */
#include <dirent.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define MAX_CORPUS 400
#define INPUT_BYTES 40000
#define CRASH "fuzz_model.crash"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

typedef struct text {
    uint8_t *bytes;
    size_t n;
} text;

static text corpus[MAX_CORPUS];
static int n_corpus;
static uint64_t state;

static const char *const words[] = {
#include "fuzz_words.inc"
};
enum { N_WORDS = sizeof words / sizeof words[0] };

static uint64_t next_random(void) /* xorshift64* */
{
    state ^= state >> 12;
    state ^= state << 25;
    state ^= state >> 27;
    return state * 0x2545F4914F6CDD1DULL;
}

static size_t below(size_t n) { return n ? (size_t)(next_random() >> 16) % n : 0; }

/* ---- mutations: each changes t, whose buffer holds INPUT_BYTES bytes ---- */

static void replace(text *t, size_t at, size_t n_old, const void *with, size_t n_new)
{
    if (t->n - n_old + n_new > INPUT_BYTES) return;
    memmove(t->bytes + at + n_new, t->bytes + at + n_old, t->n - at - n_old);
    if (n_new) memcpy(t->bytes + at, with, n_new);
    t->n += n_new - n_old;
}

static void flip_byte(text *t)
{
    if (t->n) t->bytes[below(t->n)] ^= (uint8_t)(1 << below(8));
}

static void set_byte(text *t)
{
    if (t->n) t->bytes[below(t->n)] = (uint8_t)next_random();
}

static void cut(text *t)
{
    size_t at = below(t->n), n = 1 + below(below(4) ? 8 : 400);
    if (t->n) replace(t, at, n < t->n - at ? n : t->n - at, NULL, 0);
}

static void put_word(text *t)
{
    const char *word = words[below(N_WORDS)];
    replace(t, below(t->n + 1), 0, word, strlen(word));
}

/* Finds a string in quotes, from a random place on. */
static int find_string(const text *t, size_t *at, size_t *n)
{
    size_t i = below(t->n);
    while (i < t->n && t->bytes[i] != '"') i++;
    *at = i;
    for (i++; i < t->n && t->bytes[i] != '"';) i++;
    *n = i - *at + 1;
    return i < t->n;
}

static void swap_word(text *t)
{
    size_t at, n;
    const char *word = words[below(N_WORDS)];
    if (find_string(t, &at, &n)) replace(t, at, n, word, strlen(word));
}

/* Finds a run of digits, from a random place on. */
static int find_number(const text *t, size_t *at, size_t *n)
{
    size_t i = below(t->n);
    while (i < t->n && (t->bytes[i] < '0' || t->bytes[i] > '9')) i++;
    *at = i;
    while (i < t->n && t->bytes[i] >= '0' && t->bytes[i] <= '9') i++;
    *n = i - *at;
    return *n > 0;
}

static void change_number(text *t)
{
    static const char *const special[] = { "0",          "1",          "-1",
                                           "2147483647", "4294967295", "9223372036854775807",
                                           "65536",      "1e400",      "18446744073709551616",
                                           "0.5",        "1e-60",      "100000001" };
    size_t at, n;
    char number[32];
    if (!find_number(t, &at, &n)) return;
    uint64_t value = 0;
    for (size_t i = 0; i < n && value < UINT64_MAX / 16; i++)
        value = value * 10 + (uint64_t)(t->bytes[at + i] - '0');
    switch (below(6)) {
    case 0:
        value += 1 + below(4);
        break;
    case 1:
        value -= value ? 1 + below(value < 4 ? (size_t)value : 4) : 0;
        break;
    case 2:
        value *= 2;
        break;
    case 3:
        value /= 2;
        break;
    case 4:
        value = below(40);
        break;
    default: {
        const char *s = special[below(sizeof special / sizeof special[0])];
        replace(t, at, n, s, strlen(s));
        return;
    }
    }
    snprintf(number, sizeof number, "%llu", (unsigned long long)value);
    replace(t, at, n, number, strlen(number));
}

/* Gives every number equal to one of them another value: a size that stays consistent. */
static void change_all(text *t)
{
    size_t at, n;
    char old[16], number[16];
    if (!find_number(t, &at, &n) || n >= sizeof old) return;
    memcpy(old, t->bytes + at, n);
    snprintf(number, sizeof number, "%u", (unsigned)below(40));
    for (size_t i = 0; i + n <= t->n; i++) {
        int starts = i == 0 || t->bytes[i - 1] < '0' || t->bytes[i - 1] > '9';
        int ends = i + n == t->n || t->bytes[i + n] < '0' || t->bytes[i + n] > '9';
        if (starts && ends && memcmp(t->bytes + i, old, n) == 0) {
            replace(t, i, n, number, strlen(number));
            i += strlen(number);
        }
    }
}

/* A piece of another input, or of this one, put somewhere. */
static void splice(text *t)
{
    const text *other = &corpus[below((size_t)n_corpus)];
    size_t from = below(other->n), n = below(other->n - from < 600 ? other->n - from : 600);
    size_t at = below(t->n + 1), n_old = below(2) ? n : 0;
    if (n_old > t->n - at) n_old = t->n - at;
    replace(t, at, n_old, other->bytes + from, n);
}

static void mutate(text *t)
{
    static void (*const all[])(
        text *) = { flip_byte,     set_byte,   cut,           put_word,      splice,
                    swap_word,     swap_word,  change_number, change_number, change_number,
                    change_number, change_all, change_all };
    for (size_t i = 1 + below(below(4) ? 2 : 8); i > 0; i--)
        all[below(sizeof all / sizeof all[0])](t);
}

/* ---- running ---- */

static text current; /* the input being run */

/* There under gcc's and clang's sanitizers. */
__attribute__((weak)) void __sanitizer_set_death_callback(void (*callback)(void));

static void save_crash(void)
{
    FILE *f = fopen(CRASH, "wb");
    if (!f) return;
    fwrite(current.bytes, 1, current.n, f);
    fclose(f);
    fprintf(stderr, "fuzz_model: the input is in %s\n", CRASH);
}

static void on_signal(int number)
{
    signal(number, SIG_DFL);
    save_crash();
    raise(number);
}

static void watch_for_crashes(void)
{
    signal(SIGABRT, on_signal);
    if (__sanitizer_set_death_callback)
        __sanitizer_set_death_callback(save_crash);
    else
        signal(SIGSEGV, on_signal);
}

static void run(const text *t)
{
    current.bytes = malloc(t->n ? t->n : 1); /* exactly, so that reads past the end are seen */
    current.n = t->n;
    if (!current.bytes) exit(2);
    memcpy(current.bytes, t->bytes, t->n);
    LLVMFuzzerTestOneInput(current.bytes, current.n);
    free(current.bytes);
}

static int load_file(const char *path)
{
    FILE *f = fopen(path, "rb");
    text *t = &corpus[n_corpus];
    if (!f || n_corpus == MAX_CORPUS) {
        if (f) fclose(f);
        return 0;
    }
    t->bytes = malloc(INPUT_BYTES);
    if (!t->bytes) exit(2);
    t->n = fread(t->bytes, 1, INPUT_BYTES, f);
    fclose(f);
    n_corpus++;
    return 1;
}

static int compare_names(const void *a, const void *b) { return strcmp(a, b); }

/* In sorted order: equal seeds must run equal inputs on every machine. */
static void load_folder(const char *folder)
{
    static char names[MAX_CORPUS][256];
    size_t n = 0;
    char path[2048];
    DIR *d = opendir(folder);
    if (!d) {
        load_file(folder);
        return;
    }
    for (struct dirent *e; n < MAX_CORPUS && (e = readdir(d)) != NULL;)
        if (e->d_name[0] != '.') snprintf(names[n++], sizeof names[0], "%.255s", e->d_name);
    closedir(d);
    qsort(names, n, sizeof names[0], compare_names);
    for (size_t i = 0; i < n; i++) {
        snprintf(path, sizeof path, "%.1500s/%s", folder, names[i]);
        load_file(path);
    }
}

int main(int argc, char **argv)
{
    double seconds = argc > 2 ? strtod(argv[2], NULL) : 0.0;
    uint64_t seed = argc > 3 ? strtoull(argv[3], NULL, 10) : 1;
    unsigned long long runs = 0;
    text t = { malloc(INPUT_BYTES), 0 };
    if (argc < 2 || !t.bytes) {
        fprintf(stderr, "usage: fuzz_model CORPUS_FOLDER [SECONDS [SEED]]\n");
        return 2;
    }
    watch_for_crashes();
    load_folder(argv[1]);
    if (n_corpus == 0) {
        fprintf(stderr, "fuzz_model: no inputs in %s\n", argv[1]);
        return 2;
    }
    for (int i = 0; i < n_corpus; i++) run(&corpus[i]);
    state = seed * 0x9E3779B97F4A7C15ULL + 1;
    const time_t end = time(NULL) + (time_t)seconds;
    while (time(NULL) < end) {
        const text *from = &corpus[below((size_t)n_corpus)];
        memcpy(t.bytes, from->bytes, from->n);
        t.n = from->n;
        mutate(&t);
        run(&t);
        runs++;
    }
    printf("fuzz_model: %d saved inputs and %llu mutations (seed %llu): no finding\n", n_corpus,
           runs, (unsigned long long)seed);
    for (int i = 0; i < n_corpus; i++) free(corpus[i].bytes);
    free(t.bytes);
    return 0;
}
