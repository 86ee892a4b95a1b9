/* rfhe paf list|show|design: the catalogue of polynomials, one of them in detail, new ones on demand. */
#include "cli/cli.h"

#include "base/file.h"
#include "base/mem.h"
#include "report/svg.h"
#include "rfhe/paf.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const rfhe_opt options[] = {
    {"svg", 0, RFHE_OPT_TEXT, "FILE", NULL, "show, design: plot of form, error and derivative"},
    {"schedule", 0, RFHE_OPT_FLAG, NULL, NULL,
     "show, design: also the steps of the encrypted evaluation"},
    {"sigma", 0, RFHE_OPT_FLOAT, "B", NULL,
     "range of the weighted error in standard deviations (default 8)"},
    {"degrees", 0, RFHE_OPT_TEXT, "D,D,...", NULL,
     "design: degrees of the odd stages, first stage first"},
    {"epsilon", 0, RFHE_OPT_FLOAT, "E", NULL,
     "design: fit on [E, 1] (default: the E of the best ReLU)"},
    {"even", 0, RFHE_OPT_UINT, "D", NULL, "design: one even polynomial of degree D instead"},
    {NULL, 0, RFHE_OPT_END, NULL, NULL, NULL},
};

/* All that is said about one PAF. */
typedef struct facts {
    const char *name, *title, *source;
    rfhe_paf p;
    rfhe_paf_schedule s;
    rfhe_paf_error e;
    double weighted, tuned; /* relative RMS error on N(0, 1), before and after tuning */
} facts;

/* 0.999 of a standard normal distribution and 0.001 spread evenly over +- b. */
static void normal_with_tail(rfhe_histogram *h, double b)
{
    double range = 0x1p-20;

    while (range < b) { range *= 2; }
    *h = (rfhe_histogram){.range = range, .min = -b, .max = b};
    const double bin = 2 * range / RFHE_HISTOGRAM_BINS;
    for (int i = 0; i < RFHE_HISTOGRAM_BINS; i++) {
        const double x = (i + 0.5) * bin - range;
        if (fabs(x) >= b) { continue; }
        const double density = 0.999 * 0.39894228040143268 * exp(-x * x / 2) + 0.001 / (2 * b);
        h->count[i] = (uint64_t)(1e15 * bin * density + 0.5);
        h->n += h->count[i];
    }
}

static rfhe_status find_facts(facts *f, const rfhe_histogram *h, double b, double unit,
                              rfhe_error *err)
{
    const rfhe_paf_fit_options bins_only = {.tail = -1};
    rfhe_paf tuned = f->p;
    rfhe_paf_fit_report r;
    rfhe_status st = RFHE_OK;

    RFHE_TRY(rfhe_paf_schedule_relu(&f->s, &f->p, err));
    f->e = rfhe_paf_measure(&f->p);
    RFHE_TRY(
        rfhe_paf_fit_error(NULL, &f->weighted, &f->p, h, unit > 0 ? unit : b, &bins_only, err));
    RFHE_TRY(rfhe_paf_fit(&tuned, &r, h, b, &bins_only, err));
    f->tuned = r.relative_after;
done:
    return st;
}

static const char *kind_name(const rfhe_paf *p)
{
    return p->kind == RFHE_PAF_SIGN ? "sign" : p->kind == RFHE_PAF_EVEN ? "even" : "general";
}

static void degree_text(char out[64], const rfhe_paf *p)
{
    uint32_t d[RFHE_PAF_MAX_STAGES];
    const uint32_t n = rfhe_paf_degrees(p, d);
    int at = 0;

    out[0] = '\0';
    for (uint32_t i = 0; i < n; i++) {
        at += snprintf(out + at, 64 - (size_t)at, "%s%u", i > 0 ? "," : "", d[i]);
    }
}

/* ---- output ---- */

static void json_facts(rfhe_json *j, const facts *f)
{
    uint32_t d[RFHE_PAF_MAX_STAGES];
    const uint32_t n = rfhe_paf_degrees(&f->p, d);

    rfhe_json_string(j, "name", f->name);
    rfhe_json_string(j, "title", f->title);
    rfhe_json_string(j, "kind", kind_name(&f->p));
    rfhe_json_array(j, "degrees");
    for (uint32_t i = 0; i < n; i++) { rfhe_json_integer(j, NULL, d[i]); }
    rfhe_json_end_array(j);
    rfhe_json_integer(j, "relu_depth", f->s.depth);
    rfhe_json_integer(j, "products", f->s.products);
    rfhe_json_integer(j, "plain_products", f->s.plain_products);
    rfhe_json_integer(j, "relinearisations", f->s.relinearisations);
    rfhe_json_number(j, "max_relu_error", f->e.max_relu);
    rfhe_json_number(j, "rms_relu_error", f->e.rms_relu);
    rfhe_json_number(j, "slope_at_0", f->e.slope0);
    rfhe_json_number(j, "weighted_error", f->weighted);
    rfhe_json_number(j, "weighted_error_tuned", f->tuned);
    rfhe_json_string(j, "source", f->source);
}

static void json_detail(rfhe_json *j, const facts *f, bool with_steps)
{
    static const char *const names[] = {"input", "mul", "scale", "int", "add", "const"};

    rfhe_json_array(j, "stages");
    for (uint32_t k = 0; k < f->p.n_stages; k++) {
        rfhe_json_array(j, NULL);
        for (uint32_t i = 0; i < f->p.n_terms[k]; i++) {
            rfhe_json_number(j, NULL, f->p.coef[k][i]);
        }
        rfhe_json_end_array(j);
    }
    rfhe_json_end_array(j);
    if (!with_steps) { return; }
    rfhe_json_number(j, "out_scale", f->s.out_scale);
    rfhe_json_array(j, "schedule");
    for (uint32_t i = 0; i < f->s.n_steps; i++) {
        const rfhe_paf_step *t = &f->s.step[i];
        rfhe_json_object(j, NULL);
        rfhe_json_string(j, "op", names[t->op]);
        rfhe_json_integer(j, "a", t->a);
        rfhe_json_integer(j, "b", t->b);
        rfhe_json_number(j, "c", t->c);
        rfhe_json_integer(j, "level", t->level);
        rfhe_json_bool(j, "relinearise", t->relinearise);
        rfhe_json_end_object(j);
    }
    rfhe_json_end_array(j);
}

static void text_steps(rfhe_text *out, const rfhe_paf_schedule *s)
{
    rfhe_text_printf(out, "\n%-6s %-6s %s\n", "level", "", "step");
    for (uint32_t i = 0; i < s->n_steps; i++) {
        const rfhe_paf_step *t = &s->step[i];
        rfhe_text_printf(out, "%-6u r%-5u ", t->level, i);
        switch (t->op) {
        case RFHE_PAF_OP_INPUT:
            rfhe_text_add(out, "u");
            break;
        case RFHE_PAF_OP_MUL:
            rfhe_text_printf(out, "r%u * r%u", t->a, t->b);
            break;
        case RFHE_PAF_OP_ADD:
            rfhe_text_printf(out, "r%u + r%u", t->a, t->b);
            break;
        case RFHE_PAF_OP_SCALE:
            rfhe_text_printf(out, "r%u * constant %.12g", t->a, t->c);
            break;
        case RFHE_PAF_OP_INT:
            rfhe_text_printf(out, "%g r%u", t->c, t->a);
            break;
        case RFHE_PAF_OP_CONST:
            rfhe_text_printf(out, "r%u + constant %.12g", t->a, t->c);
            break;
        }
        rfhe_text_add(out, t->relinearise ? "   relinearise\n" : "\n");
    }
    rfhe_text_printf(out, "result = %.12g * last\n", s->out_scale);
}

static void text_detail(rfhe_text *out, const facts *f, double b)
{
    char degrees[64];

    degree_text(degrees, &f->p);
    rfhe_text_printf(out, "%s: %s\nsource            %s\nkind, degrees     %s, %s\n", f->name,
                     f->title, f->source, kind_name(&f->p), degrees);
    rfhe_text_printf(
        out,
        "levels of ReLU    %u\nproducts          %u (%u relinearisations), %u with constants\n",
        f->s.depth, f->s.products, f->s.relinearisations, f->s.plain_products);
    rfhe_text_printf(out, "ReLU error        max %.4g at u = %.4g, rms %.4g on [-1, 1]\n",
                     f->e.max_relu, f->e.at, f->e.rms_relu);
    rfhe_text_printf(
        out, "weighted error    %.4g, tuned %.4g (relative rms, normal inputs, range %g sigma)\n",
        f->weighted, f->tuned, b);
    if (f->p.kind == RFHE_PAF_SIGN) {
        rfhe_text_printf(out, "slope of P at 0   %.4g\nsign error        ", f->e.slope0);
        for (int i = 0; i < 7; i++) {
            rfhe_text_printf(out, "%s%.3g on [1/%d, 1]", i > 0 ? ", " : "", f->e.max_sign[i],
                             2 << i);
        }
        rfhe_text_add(out, "\noverflow          |P - 1| passes 0.1, 0.5, 2, 10 at u =");
        for (int i = 0; i < 4; i++) {
            if (isfinite(f->e.overflow[i])) {
                rfhe_text_printf(out, " %.4g", f->e.overflow[i]);
            } else {
                rfhe_text_add(out, " never");
            }
        }
        rfhe_text_add(out, "\n");
    }
    for (uint32_t k = 0; k < f->p.n_stages; k++) {
        for (uint32_t i = 0; i < f->p.n_terms[k]; i++) {
            char term[32];
            const bool last = i + 1 == f->p.n_terms[k];
            if (f->p.kind == RFHE_PAF_SIGN) {
                (void)snprintf(term, sizeof term, "stage %u y^%u", k + 1, 2 * i + 1);
            } else if (f->p.kind == RFHE_PAF_EVEN && last) {
                (void)snprintf(term, sizeof term, "u");
            } else {
                (void)snprintf(term, sizeof term, "T_%u(%s)", i,
                               f->p.kind == RFHE_PAF_EVEN ? "2u^2-1" : "u");
            }
            rfhe_text_printf(out, "%-17s %.17g\n", term, f->p.coef[k][i]);
        }
    }
}

static rfhe_status write_plot(const char *path, const facts *f, rfhe_error *err)
{
    enum { N = 1601 };
    rfhe_status st = RFHE_OK;
    rfhe_text svg = {0};
    char title[160], caption[200], degrees[64];
    double *v = rfhe_alloc(6 * N, sizeof *v);

    if (v == NULL) {
        st = rfhe_fail(err, RFHE_E_NOMEM, "no memory for a plot of %d points", (int)N);
        goto done;
    }
    double *u = v, *y = v + N, *relu = v + 2 * N, *error = v + 3 * N, *slope = v + 4 * N,
           *step = v + 5 * N;
    for (int i = 0; i < N; i++) {
        u[i] = -1 + 2.0 * i / (N - 1);
        relu[i] = fmax(u[i], 0);
        y[i] = rfhe_paf_value_grad(&f->p, u[i], &slope[i], NULL);
        error[i] = y[i] - relu[i];
        step[i] = u[i] == 0 ? NAN : u[i] > 0;
    }
    const rfhe_plot_series form[] = {
        {.name = f->name, .x = u, .y = y, .n = N},
        {.name = "ReLU", .style = RFHE_PLOT_DASHED, .x = u, .y = relu, .n = N, .color = 7}};
    const rfhe_plot_series wrong[] = {{.x = u, .y = error, .n = N, .color = 2}};
    const rfhe_plot_series slopes[] = {
        {.name = f->name, .x = u, .y = slope, .n = N},
        {.name = "ReLU", .style = RFHE_PLOT_DASHED, .x = u, .y = step, .n = N, .color = 7}};
    const rfhe_plot panels[] = {
        {.title = "form",
         .x_label = "u = x / scale",
         .y_label = "y / scale",
         .series = form,
         .n_series = 2},
        {.title = "error",
         .x_label = "u = x / scale",
         .y_label = "(y - ReLU) / scale",
         .series = wrong,
         .n_series = 1},
        {.title = "derivative",
         .x_label = "u = x / scale",
         .y_label = "dy/dx",
         .series = slopes,
         .n_series = 2},
    };
    degree_text(degrees, &f->p);
    (void)snprintf(title, sizeof title, "%s: %s", f->name, f->title);
    (void)snprintf(caption, sizeof caption,
                   "degrees %s, %u levels, %u products, largest ReLU error %.3g", degrees,
                   f->s.depth, f->s.products, f->e.max_relu);
    rfhe_plot_svg(&svg, title, caption, panels, 3, 0, 0);
    st = rfhe_text_status(&svg);
    if (st != RFHE_OK) {
        st = rfhe_fail(err, st, "no memory for the plot '%s'", path);
        goto done;
    }
    st = rfhe_file_write(path, svg.data, svg.size, 0644, err);
done:
    rfhe_free(v);
    rfhe_text_clear(&svg);
    return st;
}

/* ---- the three verbs ---- */

static rfhe_status list(rfhe_cli *cli, const rfhe_histogram *h, double b, rfhe_error *err)
{
    rfhe_status st = RFHE_OK;
    rfhe_json j = {.out = &cli->out};
    facts *f = rfhe_alloc(1, sizeof *f);

    if (f == NULL) { return rfhe_fail(err, RFHE_E_NOMEM, "no memory for the list"); }
    if (cli->json) {
        rfhe_json_object(&j, NULL);
        rfhe_json_string(&j, "schema", "rfhe.paf/1");
        rfhe_json_number(&j, "sigma", b);
        rfhe_json_array(&j, "forms");
    } else {
        rfhe_text_printf(&cli->out, "%-10s %-9s %6s %8s %7s %6s %10s %9s %8s  %s\n", "form",
                         "degrees", "levels", "products", "relins", "plain", "max error",
                         "weighted", "tuned", "what");
    }
    for (size_t i = 0; rfhe_paf_form_at(i) != NULL; i++) {
        const rfhe_paf_form *form = rfhe_paf_form_at(i);
        char degrees[64];
        *f = (facts){.name = form->name, .title = form->title, .source = form->source};
        RFHE_TRY(rfhe_paf_from_name(&f->p, form->name, err));
        RFHE_TRY(find_facts(f, h, b, form->unit, err));
        if (cli->json) {
            rfhe_json_object(&j, NULL);
            json_facts(&j, f);
            rfhe_json_end_object(&j);
            continue;
        }
        degree_text(degrees, &f->p);
        rfhe_text_printf(&cli->out, "%-10s %-9s %6u %8u %7u %6u %10.3g %9.3g %8.3g  %s\n",
                         form->name, degrees, f->s.depth, f->s.products, f->s.relinearisations,
                         f->s.plain_products, f->e.max_relu, f->weighted, f->tuned, form->title);
    }
    if (cli->json) {
        rfhe_json_end_array(&j);
        rfhe_json_end_object(&j);
    } else {
        rfhe_text_printf(
            &cli->out,
            "\nmax error: largest |f - ReLU| on [-1, 1]. weighted: relative rms error on normal "
            "inputs, range %g sigma,\nas published (square, delphi, cubic, hermite at scale "
            "sigma); tuned: "
            "after fitting the coefficients to that distribution.\n",
            b);
    }
done:
    rfhe_free(f);
    return st;
}

/* "3,7" into degrees; the number of them, 0 when it is not such a list. */
static size_t parse_degrees(const char *text, uint32_t out[RFHE_PAF_MAX_STAGES])
{
    size_t n = 0;

    for (;;) {
        char *end = NULL;
        if (*text < '0' || *text > '9' || n == RFHE_PAF_MAX_STAGES) { return 0; }
        const unsigned long d = strtoul(text, &end, 10);
        out[n++] = d > 1000 ? 1000 : (uint32_t)d;
        if (*end == '\0') { return n; }
        if (*end != ',') { return 0; }
        text = end + 1;
    }
}

static rfhe_status design(facts *f, rfhe_paf_design *d, const rfhe_args *args, rfhe_error *err)
{
    uint32_t degrees[RFHE_PAF_MAX_STAGES];
    const char *list_text = rfhe_args_text(args, "degrees", NULL);

    f->name = "design";
    f->source = "exchange algorithm, this run";
    if (list_text == NULL) {
        const uint64_t even = rfhe_args_uint(args, "even", 0);
        f->title = "minimax even polynomial for |u|";
        return rfhe_paf_design_even(&f->p, d, even > 1000 ? 1000 : (uint32_t)even, err);
    }
    const size_t n = parse_degrees(list_text, degrees);
    f->title = "minimax composite sign";
    if (n == 0) {
        return rfhe_fail(err, RFHE_E_ARG, "'%.40s' is not a list of up to %d degrees such as 3,7",
                         list_text, (int)RFHE_PAF_MAX_STAGES);
    }
    return rfhe_paf_design_sign(&f->p, d, degrees, n, rfhe_args_float(args, "epsilon", 0), 1, err);
}

/* An option that is given and would change nothing; NULL when there is none. */
static const char *idle_option(const rfhe_args *args, bool is_list, bool is_show)
{
    static const char *const of_one[] = {"svg", "schedule"}, *const of_design[] = {"degrees", "epsilon", "even"};

    for (size_t i = 0; is_list && i < sizeof of_one / sizeof *of_one; i++) {
        if (rfhe_args_has(args, of_one[i])) { return of_one[i]; }
    }
    for (size_t i = 0; (is_list || is_show) && i < sizeof of_design / sizeof *of_design; i++) {
        if (rfhe_args_has(args, of_design[i])) { return of_design[i]; }
    }
    return rfhe_args_has(args, "even") && rfhe_args_has(args, "epsilon") ? "epsilon" : NULL;
}

static int run(rfhe_cli *cli, const rfhe_args *args)
{
    const char *verb = rfhe_args_at(args, 0), *svg = rfhe_args_text(args, "svg", NULL);
    const bool is_list = strcmp(verb, "list") == 0, is_show = strcmp(verb, "show") == 0;
    const double b = rfhe_args_float(args, "sigma", 8);
    rfhe_error err = {0};
    rfhe_status st = RFHE_OK;
    rfhe_paf_design d = {.epsilon = 0};
    double unit = 0;
    rfhe_histogram *h = NULL;
    facts *f = NULL;

    if (!is_list && !is_show && strcmp(verb, "design") != 0) {
        return rfhe_cli_usage(cli, "'%.40s' is none of list, show, design", verb);
    }
    if (rfhe_args_count(args) != (is_show ? 2U : 1U)) {
        return rfhe_cli_usage(
            cli, is_show ? "show wants the name of one form" : "%s takes no further words", verb);
    }
    const char *idle = idle_option(args, is_list, is_show);
    if (idle != NULL) {
        return rfhe_cli_usage(cli, "%s%s takes no --%s", verb, is_list || is_show ? "" : " --even", idle);
    }
    if (!(b >= 0.5 && b <= 1000)) {
        return rfhe_cli_usage(cli, "--sigma wants a number from 0.5 to 1000");
    }
    if (!is_list && !is_show && rfhe_args_has(args, "degrees") == rfhe_args_has(args, "even")) {
        return rfhe_cli_usage(cli, "design wants --degrees or --even");
    }
    h = rfhe_alloc(1, sizeof *h);
    f = rfhe_calloc(1, sizeof *f);
    if (h == NULL || f == NULL) {
        st = rfhe_fail(&err, RFHE_E_NOMEM, "no memory for the facts of a form");
        goto done;
    }
    normal_with_tail(h, b);
    if (is_list) {
        st = list(cli, h, b, &err);
        goto done;
    }
    if (is_show) {
        f->name = rfhe_args_at(args, 1);
        f->title = "designed on the spot or reversed";
        f->source = "see rfhe paf list";
        for (size_t i = 0; rfhe_paf_form_at(i) != NULL; i++) {
            const rfhe_paf_form *form = rfhe_paf_form_at(i);
            if (strcmp(form->name, f->name) != 0) { continue; }
            f->title = form->title;
            f->source = form->source;
            unit = form->unit;
        }
        RFHE_TRY(rfhe_paf_from_name(&f->p, f->name, &err));
    } else {
        RFHE_TRY(design(f, &d, args, &err));
    }
    RFHE_TRY(find_facts(f, h, b, unit, &err));
    if (svg != NULL) { RFHE_TRY(write_plot(svg, f, &err)); }
    if (cli->json) {
        rfhe_json j = {.out = &cli->out};
        rfhe_json_object(&j, NULL);
        rfhe_json_string(&j, "schema", "rfhe.paf/1");
        json_facts(&j, f);
        if (!is_show && f->p.kind == RFHE_PAF_SIGN) {
            rfhe_json_number(&j, "epsilon", d.epsilon);
            rfhe_json_array(&j, "stage_errors");
            for (uint32_t k = 0; k < f->p.n_stages; k++) { rfhe_json_number(&j, NULL, d.error[k]); }
            rfhe_json_end_array(&j);
        }
        json_detail(&j, f, rfhe_args_has(args, "schedule"));
        rfhe_json_end_object(&j);
    } else {
        text_detail(&cli->out, f, b);
        for (uint32_t k = 0; !is_show && f->p.kind == RFHE_PAF_SIGN && k < f->p.n_stages; k++) {
            rfhe_text_printf(&cli->out, "stage %-11u fitted on [%.9g, %.9g], error %.6g\n", k + 1,
                             d.lo[k], d.hi[k], d.error[k]);
        }
        if (rfhe_args_has(args, "schedule")) { text_steps(&cli->out, &f->s); }
    }
done:
    rfhe_free(h);
    rfhe_free(f);
    return st == RFHE_OK ? rfhe_cli_finish(cli) : rfhe_cli_fail(cli, st, &err);
}

const rfhe_command rfhe_cmd_paf = {
    .name = "paf",
    .usage = "list | show FORM | design --degrees D,D,... | design --even D",
    .summary = "polynomials that replace ReLU: list, show, design",
    .description = "`list` prints every form with its degrees, the levels a whole ReLU costs on "
                   "ciphertexts, the products of its "
                   "evaluation schedule, and its errors.\n\n"
                   "`show` explains one form: coefficients, errors, overflow tolerance; --schedule "
                   "adds the steps of the encrypted "
                   "evaluation and --svg a plot. Beyond the list, evenD is an even polynomial of "
                   "any even degree up to 62, and "
                   "NAME:reversed evaluates the stages of a composite in the opposite order.\n\n"
                   "`design` computes a minimax polynomial in multi-precision arithmetic: a "
                   "composite of odd stages for the sign "
                   "function, or one even polynomial for |x|. Without --epsilon the interval is "
                   "chosen so that the largest ReLU "
                   "error is smallest.",
    .example = "rfhe paf list\nrfhe paf show f1f1g1g1 --svg form.svg\nrfhe paf design --degrees "
               "3,7 --schedule",
    .options = options,
    .min_args = 1,
    .max_args = 2,
    .run = run,
};
