/* From a PAF to an explicit list of ciphertext operations of minimal depth.
 *
 * Cost model. A product of two ciphertexts and a product with a constant cost one level each; sums, constants added and
 * small whole multiples are free. A sum stands at the level of its deeper operand. 1/scale is folded into the layer
 * before, out_scale into the layer after, and every stage's output is divided by its largest value on [-1, 1] by scaling
 * that stage's coefficients, so that Chebyshev polynomials can be used inside, which keeps all numbers tame.
 *
 * One problem. With y the input of a stage, tau = 2 y^2 - 1 = T_2(y), an odd stage is y r(tau). Three tasks result:
 *   odd      y r(tau)                a stage that is not the last
 *   merged   (kappa u y) r(tau)      the last stage times u: u * P without a level of its own, because kappa u is fresh
 *   plain    r(tau) or r(u)          an even or general polynomial
 * "v" below is y, kappa u y, or 1. The builder knows a set of registers that hold v times, or just, a polynomial in
 * tau, at first v and T_1, and solves "v r(tau), no deeper than `target`" by the cheapest of
 *   flat     r is a combination of registers at hand (each costs at most a product with a constant)
 *   factor   v times a flat r: one product
 *   split    r = q (T_n + beta) + s, n a power of two: by 2 T_n T_i = T_(n+i) + T_|n-i|, beta chosen so that s loses its
 *            leading term (or 0): one product more than q and s; the new register joins the set, which is what shares
 *            work between q and s ([PS73] in the Chebyshev basis)
 *   square   r = g^2 + s, only without v
 * Free factors (kappa, out_scale) are tried in the few versions that make the coefficient on the deepest path 1, which
 * saves the level that its product with a constant would cost. */
#include "rfhe/paf.h"

#include "base/mem.h"

#include <math.h>
#include <string.h>

enum { MAX_R = 33, MAX_KNOWN = 24, NONE = -1, ANY = -100 };

typedef struct series { /* sum c[k] T_k(tau), k <= degree */
    int degree;
    long double c[MAX_R];
} series;

typedef struct known {
    bool has_v;
    int reg;
    series r;
} known;

typedef struct builder {
    rfhe_paf_schedule s;
    bool overflow;
    int v;             /* register of v */
    int y;             /* odd stages: register of y, so that c v is one constant product from y */
    long double kappa; /* odd stages: v = kappa y */
    unsigned n_known;
    known k[MAX_KNOWN];
    unsigned depth_left; /* of the search */
    bool no_square;      /* never r = g^2 + s, which asks for a positive lead */
    bool ignore_size;    /* constants above 16 are not avoided */
} builder;

/* ---- emitting steps ---- */

static int emit(builder *b, rfhe_paf_op op, int a, int c, long double value, unsigned level)
{
    if (b->s.n_steps == RFHE_PAF_MAX_STEPS) {
        b->overflow = true;
        return 0;
    }
    b->s.step[b->s.n_steps] = (rfhe_paf_step){
        .op = op, .a = (uint16_t)a, .b = (uint16_t)c, .level = (uint16_t)level, .c = (double)value};
    return (int)b->s.n_steps++;
}

static unsigned level(const builder *b, int reg)
{
    return b->s.step[reg].level;
}

static unsigned deeper(const builder *b, int x, int y)
{
    return level(b, x) > level(b, y) ? level(b, x) : level(b, y);
}

static int mul(builder *b, int x, int y)
{
    return emit(b, RFHE_PAF_OP_MUL, x, y, 0, deeper(b, x, y) + 1);
}

static int add(builder *b, int x, int y)
{
    return emit(b, RFHE_PAF_OP_ADD, x, y, 0, deeper(b, x, y));
}

static bool is_free(long double c)
{
    return c == rintl(c) && fabsl(c) <= 8 && c != 0;
}

static int scale(builder *b, int x, long double c)
{
    if (c == 1) { return x; }
    return is_free(c) ? emit(b, RFHE_PAF_OP_INT, x, x, c, level(b, x))
                      : emit(b, RFHE_PAF_OP_SCALE, x, x, c, level(b, x) + 1);
}

static int add_constant(builder *b, int x, long double c)
{
    return c == 0 ? x : emit(b, RFHE_PAF_OP_CONST, x, x, c, level(b, x));
}

/* ---- polynomials ---- */

static long double largest(const series *r)
{
    long double m = 0;

    for (int k = 0; k <= r->degree; k++) { m = fmaxl(m, fabsl(r->c[k])); }
    return m;
}

/* Drops leading terms that are nothing but rounding; `against` is the size of the polynomial they came from. */
static void trim(series *r, long double against)
{
    while (r->degree > 0 && fabsl(r->c[r->degree]) <= 0x1p-50L * against) { r->c[r->degree--] = 0; }
    if (r->degree == 0 && fabsl(r->c[0]) <= 0x1p-58L * against) { r->c[0] = 0; }
}

static bool is_zero(const series *r)
{
    return r->degree == 0 && r->c[0] == 0;
}

/* r += f T_i T_j, for i + j < MAX_R. */
static void add_product(series *r, long double f, int i, int j)
{
    const int lo = i > j ? i - j : j - i;

    r->c[i + j] += f / 2;
    r->c[lo] += f / 2;
    if (r->degree < i + j) { r->degree = i + j; }
}

/* ---- solving ---- */

/* Registers that hold 1 T_n or v: T_n for a power of two n, made on demand from T_(n/2). NONE if too deep. */
static int chebyshev(builder *b, int n, unsigned target)
{
    for (unsigned i = 0; i < b->n_known; i++) {
        const known *k = &b->k[i];
        if (!k->has_v && k->r.degree == n && k->r.c[n] == 1) {
            bool pure = true;
            for (int j = 0; j < n; j++) { pure = pure && k->r.c[j] == 0; }
            if (pure) { return level(b, k->reg) <= target ? k->reg : NONE; }
        }
    }
    if (n % 2 != 0 || target == 0 || b->n_known == MAX_KNOWN) { return NONE; }
    const int half = chebyshev(b, n / 2, target - 1);
    if (half == NONE || b->n_known == MAX_KNOWN) { return NONE; }
    const int square = mul(b, half, half), reg = add_constant(b, scale(b, square, 2), -1);
    known *k = &b->k[b->n_known++];
    *k = (known){.reg = reg, .r = {.degree = n}};
    k->r.c[n] = 1;
    return reg;
}

/* c v, at most at level `target`. */
static int leaf(builder *b, long double c, unsigned target)
{
    int reg = NONE;

    if (is_free(c) && level(b, b->v) <= target) {
        reg = scale(b, b->v, c);
    } else if (b->y != NONE && level(b, b->y) + (is_free(c * b->kappa) ? 0 : 1) <= target) {
        reg = scale(b, b->y, c * b->kappa);
    } else if (level(b, b->v) + 1 <= target) {
        reg = scale(b, b->v, c);
    }
    return reg;
}

/* r as a combination of known registers; with v when has_v. A plain constant alone is not a register: NONE. */
static int flat(builder *b, const series *wanted, bool has_v, unsigned target)
{
    const long double size = largest(wanted);
    series r = *wanted;
    int sum = NONE;

    for (int d = r.degree; d > 0; d--) {
        int best = NONE;
        if (fabsl(r.c[d]) <= 0x1p-50L * size) { continue; }
        if (!has_v && (d & (d - 1)) == 0) { (void)chebyshev(b, d, target); }
        for (unsigned i = 0; i < b->n_known; i++) {
            const known *k = &b->k[i];
            if (k->has_v != has_v || k->r.degree != d) { continue; }
            const long double f = r.c[d] / k->r.c[d];
            if (level(b, k->reg) + (is_free(f) ? 0 : 1) > target ||
                fabsl(f) * largest(&k->r) > 256 * size) {
                continue;
            }
            if (best == NONE || level(b, k->reg) < level(b, b->k[best].reg)) { best = (int)i; }
        }
        if (best == NONE) { return NONE; }
        const known *k = &b->k[best];
        const long double f = r.c[d] / k->r.c[d];
        for (int j = 0; j < d; j++) { r.c[j] -= f * k->r.c[j]; }
        r.c[d] = 0;
        const int term = scale(b, k->reg, f);
        sum = sum == NONE ? term : add(b, sum, term);
    }
    r.degree = 0;
    trim(&r, size);
    if (has_v) {
        if (r.c[0] == 0) { return sum; }
        const int term = leaf(b, r.c[0], target);
        if (term == NONE) { return NONE; }
        return sum == NONE ? term : add(b, sum, term);
    }
    return sum == NONE ? NONE : add_constant(b, sum, r.c[0]);
}

static unsigned count(const builder *b, rfhe_paf_op op)
{
    unsigned n = 0;

    for (uint32_t i = 0; i < b->s.n_steps; i++) { n += b->s.step[i].op == op; }
    return n;
}

/* Products first, then products with constants, then depth, then length. Constants above 16 cost precision (a lead
 * that is folded away although it is small): worth a few products with constants, never a product or a level. */
static unsigned long cost(const builder *b, int reg)
{
    unsigned long plain = count(b, RFHE_PAF_OP_SCALE);

    for (uint32_t i = 0; i < b->s.n_steps && !b->ignore_size; i++) {
        if (fabs(b->s.step[i].c) > 16) {
            plain += 20;
            break;
        }
    }
    return ((count(b, RFHE_PAF_OP_MUL) * 1000UL + plain) * 100 + level(b, reg)) * 1000 +
           b->s.n_steps;
}

static int solve(builder *b, const series *r, bool has_v, unsigned target);

/* Runs one way of solving on a copy and keeps it in *best if it is the cheapest so far. */
typedef struct contest {
    builder *best; /* NULL: the search is out of memory */
    builder *trial;
    int reg;
} contest;

static void judge(contest *c, int reg)
{
    if (reg != NONE && !c->trial->overflow &&
        (c->reg == NONE || cost(c->trial, reg) < cost(c->best, c->reg))) {
        builder *t = c->best;
        c->best = c->trial;
        c->trial = t;
        c->reg = reg;
    }
}

static int try_split(builder *b, const series *r, bool has_v, unsigned target, int n, bool cancel)
{
    series q = {.degree = r->degree - n}, s = *r;
    long double beta = 0;
    int left = NONE, giant = NONE;

    q.c[0] = r->c[n];
    for (int i = 1; n + i <= r->degree; i++) { q.c[i] = 2 * r->c[n + i]; }
    for (int i = 0; i <= q.degree; i++) { /* s = r - q T_n, exactly zero above its degree */
        add_product(&s, -q.c[i], i, n);
        s.c[n + i] = 0;
    }
    s.degree = n - 1 > r->degree - 2 * n ? n - 1 : r->degree - 2 * n;
    if (cancel) {
        if (s.degree != q.degree || q.c[q.degree] == 0) { return NONE; }
        beta = s.c[s.degree] / q.c[q.degree];
        if (!(fabsl(beta) <= 64)) { return NONE; }
        for (int i = 0; i <= q.degree; i++) { s.c[i] -= beta * q.c[i]; }
        s.c[s.degree] = 0;
        if (s.degree > 0) { s.degree--; }
    }
    trim(&s, largest(r));
    if (!has_v && q.degree == 0) { /* c T_n + s: no product but those of s */
        giant = cancel ? NONE : chebyshev(b, n, target);
        if (giant == NONE || level(b, giant) + (is_free(q.c[0]) ? 0 : 1) > target) { return NONE; }
        const int term = scale(b, giant, q.c[0]);
        if (s.degree == 0) { return add_constant(b, term, s.c[0]); }
        const int rest = solve(b, &s, false, target);
        return rest == NONE ? NONE : add(b, term, rest);
    }
    left = solve(b, &q, has_v, target - 1);
    if (left == NONE) { return NONE; }
    giant = chebyshev(b, n, target - 1);
    if (giant == NONE || b->n_known == MAX_KNOWN) { return NONE; }
    const int product = mul(b, left, add_constant(b, giant, beta));
    known *k = &b->k[b->n_known++];
    *k = (known){.has_v = has_v, .reg = product, .r = {.degree = r->degree}};
    for (int i = 0; i <= r->degree; i++) { k->r.c[i] = r->c[i] - (i <= s.degree ? s.c[i] : 0); }
    if (is_zero(&s)) { return product; }
    if (!has_v && s.degree == 0) { return add_constant(b, product, s.c[0]); }
    const int right = solve(b, &s, has_v, target);
    return right == NONE ? NONE : add(b, product, right);
}

/* r = g^2 + s with deg g = deg r / 2. */
static int try_square(builder *b, const series *r, unsigned target)
{
    const int m = r->degree, n = m / 2;
    series g = {.degree = n}, s = *r;

    if (b->no_square || m % 2 != 0 || r->c[m] <= 0) { return NONE; }
    g.c[n] = sqrtl(2 * r->c[m]);
    for (int j = 1; j <= n; j++) { /* the coefficient of T_(m-j) fixes g[n-j] */
        series square = {.degree = 0};
        for (int a = 0; a <= n; a++) {
            for (int e = 0; e <= n; e++) { add_product(&square, g.c[a] * g.c[e], a, e); }
        }
        g.c[n - j] = (r->c[m - j] - square.c[m - j]) / (j < n ? g.c[n] : 2 * g.c[n]);
    }
    for (int a = 0; a <= n; a++) {
        for (int e = 0; e <= n; e++) { add_product(&s, -g.c[a] * g.c[e], a, e); }
    }
    s.degree = n > 0 ? n - 1 : 0;
    if (largest(&g) > 64 * sqrtl(largest(r))) { return NONE; }
    trim(&s, largest(r));
    const int root = flat(b, &g, false, target - 1);
    if (root == NONE) { return NONE; }
    const int product = mul(b, root, root);
    if (s.degree == 0) { return add_constant(b, product, s.c[0]); }
    const int rest = solve(b, &s, false, target);
    return rest == NONE ? NONE : add(b, product, rest);
}

/* A register that holds (v) r(tau) at level `target` at most, or NONE; then the builder's steps are as before. */
static int solve(builder *b, const series *r, bool has_v, unsigned target)
{
    contest c = {.reg = NONE};

    if (target == 0 || b->depth_left == 0) { return NONE; }
    if (r->degree == 0) { return has_v ? leaf(b, r->c[0], target) : NONE; }
    c.best = rfhe_alloc(1, sizeof *c.best);
    c.trial = rfhe_alloc(1, sizeof *c.trial);
    if (c.best == NULL || c.trial == NULL) {
        b->overflow = true;
        rfhe_free(c.best);
        rfhe_free(c.trial);
        return NONE;
    }
#define TRY(expression)                                                                            \
    do {                                                                                           \
        *c.trial = *b;                                                                             \
        c.trial->depth_left--;                                                                     \
        const int tried = (expression);                                                            \
        if (c.trial->overflow) { b->overflow = true; } /* before judge exchanges the two */        \
        judge(&c, tried);                                                                          \
    } while (0)
    TRY(flat(c.trial, r, has_v, target));
    const bool is_flat =
        c.reg != NONE && count(c.best, RFHE_PAF_OP_MUL) == count(b, RFHE_PAF_OP_MUL);
    if (!is_flat) { /* a combination without a product cannot be beaten */
        if (has_v) {
            *c.trial = *b;
            c.trial->depth_left--;
            const int f = flat(c.trial, r, false, target - 1);
            if (f != NONE && level(c.trial, b->v) < target && c.trial->n_known < MAX_KNOWN) {
                const int product = mul(c.trial, f, b->v);
                c.trial->k[c.trial->n_known++] = (known){.has_v = true, .reg = product, .r = *r};
                judge(&c, product);
            }
        } else {
            TRY(try_square(c.trial, r, target));
        }
        int top = 1;
        while (2 * top <= r->degree) { top *= 2; }
        for (int n = top;
             n >= 1 && (n == top || (4 * n > r->degree && (r->degree <= 8 || r->degree == top)));
             n /= 2) {
            TRY(try_split(c.trial, r, has_v, target, n, true));
            TRY(try_split(c.trial, r, has_v, target, n, false));
        }
    }
#undef TRY
    if (c.reg != NONE) {
        const unsigned left = b->depth_left;
        *b = *c.best;
        b->depth_left = left;
    }
    rfhe_free(c.best);
    rfhe_free(c.trial);
    return c.reg;
}

/* ---- stages ---- */

/* The polynomial sum c[j] t^j as a series in tau, t = (tau + 1)/2. */
static series in_tau(const long double *c, int degree)
{
    series h = {.degree = degree};

    for (int j = degree; j >= 0; j--) { /* Horner: h = h (1 + T_1)/2 + c_j */
        series g = {.degree = degree};
        for (int k = 0; k <= degree && j < degree; k++) {
            g.c[k] += h.c[k] / 2;
            if (h.c[k] != 0) { add_product(&g, h.c[k] / 2, k, 1); }
        }
        g.degree = degree;
        h = g;
        h.c[0] += c[j];
    }
    return h;
}

static unsigned log2_up(unsigned n)
{
    unsigned k = 0;

    while ((1U << k) < n) { k++; }
    return k;
}

/* Forgets what was known about the last stage and makes T_1 = 2 y^2 - 1 of y known. */
static void begin_stage(builder *b, int y)
{
    b->n_known = 0;
    b->y = b->v = y;
    b->kappa = 1;
    const int t1 = add_constant(b, scale(b, mul(b, y, y), 2), -1);
    b->k[b->n_known++] = (known){.reg = t1, .r = {.degree = 1, .c = {0, 1}}};
}

/* Largest |p_k(...p_1(u))| on [-1, 1]. */
static double reach(const rfhe_paf *p, uint32_t stages)
{
    rfhe_paf part = *p;
    double m = 0;

    part.n_stages = stages;
    for (int i = 1; i <= 4096; i++) {
        const double s = i / 4096.0;
        m = fmax(m, fmax(fabs(rfhe_paf_sign(&part, s)), fabs(rfhe_paf_sign(&part, s * s * s))));
    }
    return m > 1e-6 ? m * 1.0009765625 : 1;
}

static uint32_t count_steps(const rfhe_paf_schedule *s, rfhe_paf_op op)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < s->n_steps; i++) { n += s->step[i].op == op; }
    return n;
}

/* Marks where three-part results become two-part again, given the products that do so at once; returns the number. A
 * factor of a product and the final result need two parts; sums, whole multiples and constant products take three. */
static uint32_t relinearise(rfhe_paf_schedule *s, const bool *at_once)
{
    bool three[RFHE_PAF_MAX_STEPS] = {false}, two[RFHE_PAF_MAX_STEPS] = {false};
    uint32_t n = 0;

    two[s->n_steps - 1] = true;
    for (uint32_t i = s->n_steps; i-- > 1;) {
        const rfhe_paf_step *t = &s->step[i];
        if (t->op == RFHE_PAF_OP_MUL) {
            two[t->a] = two[t->b] = true;
        } else if (t->op != RFHE_PAF_OP_ADD && two[i]) {
            two[t->a] = true; /* better before the constant: others may use the operand */
        }
    }
    for (uint32_t i = 0; i < s->n_steps; i++) {
        rfhe_paf_step *t = &s->step[i];
        three[i] = i > 0 && (t->op == RFHE_PAF_OP_MUL || three[t->a] || three[t->b]);
        t->relinearise = three[i] && (two[i] || at_once[i]);
        if (t->relinearise) { three[i] = false, n++; }
    }
    return n;
}

static void place_relinearisations(rfhe_paf_schedule *s)
{
    bool at_once[RFHE_PAF_MAX_STEPS] = {false};
    uint32_t best = relinearise(s, at_once);

    for (uint32_t i = 1; i < s->n_steps;
         i++) { /* a product that several sums share is better done at once */
        if (s->step[i].op != RFHE_PAF_OP_MUL) { continue; }
        at_once[i] = true;
        const uint32_t n = relinearise(s, at_once);
        at_once[i] = n < best;
        best = n < best ? n : best;
    }
    s->relinearisations = relinearise(s, at_once);
}

/* Removes steps whose result nobody uses; the last step stays last. Fills the counts. */
static void finish(rfhe_paf_schedule *s, int result)
{
    bool used[RFHE_PAF_MAX_STEPS] = {false};
    uint16_t place[RFHE_PAF_MAX_STEPS] = {0};
    uint32_t n = 0;

    used[0] = used[result] = true;
    for (int i = result; i > 0; i--) {
        if (used[i]) { used[s->step[i].a] = used[s->step[i].b] = true; }
    }
    for (int i = 0; i <= result; i++) {
        if (!used[i]) { continue; }
        rfhe_paf_step step = s->step[i];
        step.a = place[step.a];
        step.b = place[step.b];
        place[i] = (uint16_t)n;
        s->step[n++] = step;
    }
    s->n_steps = n;
    s->depth = s->step[n - 1].level;
    s->products = count_steps(s, RFHE_PAF_OP_MUL);
    s->plain_products = count_steps(s, RFHE_PAF_OP_SCALE);
    place_relinearisations(s);
}

typedef struct job { /* one attempt of the last part, for every free factor worth trying */
    const builder *start;
    builder *best, *trial;
    unsigned long best_cost;
    int best_reg;
    int only; /* the one e to try; ANY: all */
} job;

static void keep(job *j, int reg)
{
    if (reg == NONE || j->trial->overflow) { return; }
    const unsigned long c = cost(j->trial, reg);
    if (j->best_reg == NONE || c < j->best_cost) {
        builder *t = j->best;
        j->best = j->trial;
        j->trial = t;
        j->best_cost = c;
        j->best_reg = reg;
    }
}

/* Tries out_scale * r = polynomial, plus linear * u, in the variable whose T_1 the builder knows. */
static void plain_attempts(job *j, const series *r, long double linear, unsigned target)
{
    for (int e = -2; e <= 5; e++) { /* e = -2: out_scale 1 */
        if (j->only != ANY && j->only != e) { continue; }
        const long double lead = r->c[r->degree], f = e == -2 ? 1 : lead * ldexpl(1, e);
        series scaled = *r;
        for (int k = 0; k <= r->degree; k++) { scaled.c[k] = r->c[k] / f; }
        scaled.c[r->degree] = e == -2 ? lead : ldexpl(1, -e);
        *j->trial = *j->start;
        j->trial->s.out_scale = (double)f;
        int reg = solve(j->trial, &scaled, false, target);
        if (reg != NONE && linear != 0) {
            const int term = scale(j->trial, 0, linear / f);
            reg = level(j->trial, term) <= target ? add(j->trial, reg, term) : NONE;
        }
        keep(j, reg);
    }
}

static void merged_attempts(job *j, const series *r, int y, bool with_half, unsigned target)
{
    for (int e = -1; e <= 5; e++) { /* e = -1: kappa 1 */
        if (j->only != ANY && j->only != e) { continue; }
        const long double lead = r->c[r->degree], kappa = e == -1 ? 1 : lead * ldexpl(1, e);
        series scaled = *r;
        for (int k = 0; k <= r->degree; k++) { scaled.c[k] = r->c[k] / kappa; }
        if (e >= 0) { scaled.c[r->degree] = ldexpl(1, -e); }
        *j->trial = *j->start;
        j->trial->s.out_scale = 0.5;
        j->trial->v = mul(j->trial, scale(j->trial, 0, kappa), y);
        j->trial->y = NONE;
        int reg = solve(j->trial, &scaled, true, target);
        if (reg != NONE && with_half) { reg = add(j->trial, reg, 0); }
        keep(j, reg);
    }
}

static rfhe_status schedule(rfhe_paf_schedule *out, const rfhe_paf *p, bool with_half, int way,
                            rfhe_error *err)
{
    rfhe_status st = RFHE_OK;
    builder *b = NULL;
    job j = {.best_reg = NONE, .only = way < 0 ? ANY : way / 2 - 2};
    long double c[MAX_R] = {0};
    series r = {.degree = 0};
    long double linear = 0;
    unsigned target = 0;
    int y = 0;
    bool merged = false;

    RFHE_TRY(rfhe_paf_check(p, err));
    b = rfhe_calloc(1, sizeof *b);
    j.best = rfhe_alloc(1, sizeof *j.best);
    j.trial = rfhe_alloc(1, sizeof *j.trial);
    if (b == NULL || j.best == NULL || j.trial == NULL) {
        st = rfhe_fail(err, RFHE_E_NOMEM, "no memory to plan the evaluation of a polynomial");
        goto done;
    }
    b->depth_left = 24;
    b->no_square = way >= 0 && way % 2 != 0;
    b->ignore_size = way >= 0;
    b->y = b->v = NONE;
    (void)emit(b, RFHE_PAF_OP_INPUT, 0, 0, 0, 0);
    if (p->kind == RFHE_PAF_SIGN && p->n_stages > 1) {
        double m = 1;
        for (uint32_t k = 0; k < p->n_stages; k++) {
            const bool last = k + 1 == p->n_stages;
            const double next = last ? 1 : reach(p, k + 1);
            const int degree = (int)p->n_terms[k] - 1;
            for (int i = 0; i <= degree; i++) {
                c[i] = (long double)p->coef[k][i] * powl(m, 2 * i + 1) / next;
            }
            r = in_tau(c, degree);
            trim(&r, largest(&r));
            if (is_zero(&r)) {
                st = rfhe_fail(err, RFHE_E_ARG, "stage %u of the polynomial is zero", k + 1);
                goto done;
            }
            begin_stage(b, y);
            target = level(b, y) + log2_up((unsigned)(2 * r.degree + 2));
            m = next;
            if (last) { break; }
            const unsigned limit = target + 4;
            int reg = NONE;
            for (; reg == NONE && target <= limit; target++) { reg = solve(b, &r, true, target); }
            if (reg == NONE) { break; }
            y = reg;
        }
        merged = true;
    } else if (p->kind ==
               RFHE_PAF_SIGN) { /* one stage: (u + u P(u))/2 is an even polynomial and u/2 */
        const int degree = (int)p->n_terms[0];
        for (int i = 1; i <= degree; i++) { c[i] = (long double)p->coef[0][i - 1] / 2; }
        r = in_tau(c, degree);
        linear = with_half ? 0.5L : 0;
    } else {
        const bool even = p->kind == RFHE_PAF_EVEN;
        r.degree = (int)p->n_terms[0] - (even ? 2 : 1);
        for (int i = 0; i <= r.degree; i++) { r.c[i] = p->coef[0][i]; }
        linear = even ? (long double)p->coef[0][r.degree + 1] : 0;
        if (even) { linear -= with_half ? 0 : 0.5L; }
        if (!even && !with_half) { r.c[1] -= 0.5L; }
    }
    if (!merged) {
        const long double size = largest(&r);
        trim(&r, size);
        const bool in_u = p->kind == RFHE_PAF_GENERAL || r.degree <= 1;
        if (in_u && p->kind != RFHE_PAF_GENERAL) { /* degree 2: square of u + something */
            const long double c0 = r.c[0], c1 = r.degree == 1 ? r.c[1] : 0;
            r = (series){.degree = 2, .c = {c0, linear, c1}};
            linear = 0;
            trim(&r, size);
        }
        if (r.degree == 0) {
            st = rfhe_fail(err, RFHE_E_ARG, "the polynomial is a constant or zero");
            goto done;
        }
        if (in_u) {
            b->k[b->n_known++] = (known){.reg = 0, .r = {.degree = 1, .c = {0, 1}}};
            target = log2_up((unsigned)r.degree);
            target += target == 0;
        } else {
            begin_stage(b, 0);
            target = log2_up((unsigned)(2 * r.degree));
        }
    }
    j.start = b;
    for (unsigned more = 0; j.best_reg == NONE && more <= 4 && !b->overflow; more++) {
        if (merged) {
            merged_attempts(&j, &r, y, with_half, target + more);
        } else {
            plain_attempts(&j, &r, linear, target + more);
        }
    }
    if (j.best_reg == NONE && way >= 0) {
        st = rfhe_fail(err, RFHE_E_UNSUPPORTED, "this way of evaluating does not suit the polynomial");
        goto done;
    }
    if (j.best_reg == NONE) {
        st = rfhe_fail(err, RFHE_E_NOMEM, "no memory to plan the evaluation of a polynomial");
        goto done;
    }
    *out = j.best->s;
    finish(out, j.best_reg);
done:
    rfhe_free(b);
    rfhe_free(j.best);
    rfhe_free(j.trial);
    return st;
}

rfhe_status rfhe_paf_schedule_relu(rfhe_paf_schedule *out, const rfhe_paf *p, rfhe_error *err)
{
    return schedule(out, p, true, -1, err);
}

rfhe_status rfhe_paf_schedule_relu_way(rfhe_paf_schedule *out, const rfhe_paf *p, uint32_t way,
                                       rfhe_error *err)
{
    if (way >= RFHE_PAF_WAYS) {
        return rfhe_fail(err, RFHE_E_ARG, "there is no way %u of evaluating a polynomial", way);
    }
    return schedule(out, p, true, (int)way, err);
}

rfhe_status rfhe_paf_schedule_max(rfhe_paf_schedule *out, const rfhe_paf *p, rfhe_error *err)
{
    return schedule(out, p, false, -1, err);
}

double rfhe_paf_schedule_run(const rfhe_paf_schedule *s, double u)
{
    double reg[RFHE_PAF_MAX_STEPS];

    for (uint32_t i = 0; i < s->n_steps; i++) {
        const rfhe_paf_step *t = &s->step[i];
        const double a = i > 0 ? reg[t->a] : u, b = i > 0 ? reg[t->b] : u;
        switch (t->op) {
        case RFHE_PAF_OP_INPUT:
            reg[i] = u;
            break;
        case RFHE_PAF_OP_MUL:
            reg[i] = a * b;
            break;
        case RFHE_PAF_OP_SCALE:
        case RFHE_PAF_OP_INT:
            reg[i] = a * t->c;
            break;
        case RFHE_PAF_OP_ADD:
            reg[i] = a + b;
            break;
        case RFHE_PAF_OP_CONST:
            reg[i] = a + t->c;
            break;
        }
    }
    return s->out_scale * reg[s->n_steps - 1];
}
