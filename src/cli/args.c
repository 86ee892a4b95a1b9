/* See args.h. */
#include "cli/args.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const rfhe_opt *find(const rfhe_opt *table, const char *name, size_t n, char letter)
{
    for (const rfhe_opt *o = table; o != NULL && o->kind != RFHE_OPT_END; o++) {
        if (letter != 0 ? o->letter == letter
                        : (strlen(o->name) == n && memcmp(o->name, name, n) == 0)) {
            return o;
        }
    }
    return NULL;
}

bool rfhe_args_parse_uint(const char *s, uint64_t *out)
{
    char *end = NULL;
    uint64_t unit = 1;

    if (*s < '0' || *s > '9') { return false; }
    errno = 0;
    const unsigned long long v = strtoull(s, &end, 10);
    if (errno != 0) { return false; }
    if (*end == 'k') { unit = 1000; }
    if (*end == 'M') { unit = 1000000; }
    if (*end == 'G') { unit = 1000000000; }
    if (end[unit > 1] != '\0') { return false; }
    return !__builtin_mul_overflow((uint64_t)v, unit, out);
}

bool rfhe_args_parse_amount(const char *text, const rfhe_unit *units, size_t n, double *value, size_t *unit)
{
    char *end = NULL;
    const double v = strtod(text, &end);

    if (end == text || !isfinite(v) || v < 0) { return false; }
    for (size_t i = 0; i < n; i++) {
        if (strcmp(end, units[i].name) == 0) {
            *value = v * units[i].factor;
            if (unit != NULL) { *unit = i; }
            return true;
        }
    }
    return false;
}

static bool parse_bytes(const char *text, double *out)
{
    static const rfhe_unit units[] = {{"", 1},         {"B", 1},      {"KiB", 0x1p10}, {"MiB", 0x1p20},
                                      {"GiB", 0x1p30}, {"K", 0x1p10}, {"M", 0x1p20},   {"G", 0x1p30},
                                      {"KB", 1e3},     {"MB", 1e6},   {"GB", 1e9}};

    return rfhe_args_parse_amount(text, units, sizeof units / sizeof *units, out, NULL) && *out > 0;
}

static bool is_choice(const char *choices, const char *word)
{
    const size_t n = strlen(word);

    for (const char *c = choices; n > 0 && *c != '\0';) {
        const size_t len = strcspn(c, "|");
        if (len == n && memcmp(c, word, n) == 0) { return true; }
        c += len + (c[len] == '|');
    }
    return false;
}

/* Reads v->text as its option wants it. */
static bool set_value(rfhe_arg_value *v, rfhe_error *why)
{
    const rfhe_opt *o = v->opt;
    char *end = NULL;

    switch (o->kind) {
    case RFHE_OPT_UINT:
        if (!rfhe_args_parse_uint(v->text, &v->uint)) {
            (void)rfhe_fail(why, RFHE_E_ARG, "--%s wants a whole number, not '%s'", o->name,
                            v->text);
            return false;
        }
        break;
    case RFHE_OPT_FLOAT:
        v->number = strtod(v->text, &end);
        if (end == v->text || *end != '\0' || !isfinite(v->number)) {
            (void)rfhe_fail(why, RFHE_E_ARG, "--%s wants a number, not '%s'", o->name, v->text);
            return false;
        }
        break;
    case RFHE_OPT_BYTES:
        if (!parse_bytes(v->text, &v->number)) {
            (void)rfhe_fail(why, RFHE_E_ARG, "--%s wants a size such as 8GiB, not '%s'", o->name, v->text);
            return false;
        }
        break;
    case RFHE_OPT_CHOICE:
        if (!is_choice(o->choices, v->text)) {
            (void)rfhe_fail(why, RFHE_E_ARG, "--%s wants one of %s, not '%s'", o->name, o->choices,
                            v->text);
            return false;
        }
        break;
    case RFHE_OPT_TEXT:
    case RFHE_OPT_FLAG:
    case RFHE_OPT_END: break;
    }
    return true;
}

static bool take_option(rfhe_args *a, const rfhe_command *c, int argc, char **argv, int *i,
                        rfhe_error *why)
{
    const char *word = argv[*i];
    const bool is_long = word[1] == '-';
    const char *name = word + (is_long ? 2 : 1);
    const size_t n = is_long ? strcspn(name, "=") : 1;
    const char *attached =
        is_long ? (name[n] == '=' ? name + n + 1 : NULL) : (name[1] != '\0' ? name + 1 : NULL);
    const rfhe_opt *o = find(c->options, name, n, is_long ? 0 : name[0]);
    rfhe_arg_value v = {0};

    if (o == NULL) { o = find(rfhe_common_options, name, n, is_long ? 0 : name[0]); }
    if (o == NULL) {
        (void)rfhe_fail(why, RFHE_E_ARG, "there is no option '%.*s'", (int)(is_long ? n + 2 : 2),
                        word);
        return false;
    }
    v.opt = o;
    if (o->kind == RFHE_OPT_FLAG) {
        if (attached != NULL) {
            (void)rfhe_fail(why, RFHE_E_ARG, "--%s takes no value", o->name);
            return false;
        }
    } else {
        if (attached == NULL && *i + 1 >= argc) {
            (void)rfhe_fail(why, RFHE_E_ARG, "--%s wants a value (%s)", o->name, o->value);
            return false;
        }
        v.text = attached != NULL ? attached : argv[++*i];
    }
    if (rfhe_args_has(a, o->name)) {
        (void)rfhe_fail(why, RFHE_E_ARG, "--%s is given twice", o->name);
        return false;
    }
    if (a->n_values == sizeof a->values / sizeof a->values[0]) {
        (void)rfhe_fail(why, RFHE_E_ARG, "too many options");
        return false;
    }
    if (!set_value(&v, why)) { return false; }
    a->values[a->n_values++] = v;
    return true;
}

bool rfhe_args_parse(rfhe_args *out, const rfhe_command *c, int argc, char **argv, rfhe_error *why)
{
    bool options_end = false;

    out->n_values = 0;
    out->n_positional = 0;
    for (int i = 0; i < argc; i++) {
        const char *w = argv[i];
        if (!options_end && strcmp(w, "--") == 0) {
            options_end = true;
        } else if (!options_end && w[0] == '-' && w[1] != '\0') {
            if (!take_option(out, c, argc, argv, &i, why)) { return false; }
        } else if (out->n_positional < c->max_args && out->n_positional < RFHE_ARGS_MAX) {
            out->positional[out->n_positional++] = w;
        } else {
            (void)rfhe_fail(why, RFHE_E_ARG, "'%s' is one argument too many (at most %u)", w,
                            c->max_args);
            return false;
        }
    }
    out->help = rfhe_args_has(out, "help");
    if (!out->help && out->n_positional < c->min_args) {
        (void)rfhe_fail(why, RFHE_E_ARG, "wants %s%u argument%s, got %u",
                        c->max_args > c->min_args ? "at least " : "", c->min_args,
                        c->min_args == 1 ? "" : "s", out->n_positional);
        return false;
    }
    return true;
}

static const rfhe_arg_value *lookup(const rfhe_args *a, const char *name)
{
    for (unsigned i = 0; i < a->n_values; i++) {
        if (strcmp(a->values[i].opt->name, name) == 0) { return &a->values[i]; }
    }
    return NULL;
}

bool rfhe_args_has(const rfhe_args *a, const char *name)
{
    return lookup(a, name) != NULL;
}

uint64_t rfhe_args_uint(const rfhe_args *a, const char *name, uint64_t otherwise)
{
    const rfhe_arg_value *v = lookup(a, name);

    return v != NULL ? v->uint : otherwise;
}

double rfhe_args_float(const rfhe_args *a, const char *name, double otherwise)
{
    const rfhe_arg_value *v = lookup(a, name);

    return v != NULL ? v->number : otherwise;
}

const char *rfhe_args_text(const rfhe_args *a, const char *name, const char *otherwise)
{
    const rfhe_arg_value *v = lookup(a, name);

    return v != NULL ? v->text : otherwise;
}

unsigned rfhe_args_count(const rfhe_args *a)
{
    return a->n_positional;
}

const char *rfhe_args_at(const rfhe_args *a, unsigned i)
{
    return i < a->n_positional ? a->positional[i] : NULL;
}
