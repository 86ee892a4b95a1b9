/* The catalogue of forms: names, coefficients, sources. Every table can be recomputed: the minimax ones with
 * `rfhe paf design`, the others from the formula in their comment; tests/paf checks both. */
#include "rfhe/paf.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- tables ---- */

/* [CKK20] section 3: f_n has n vanishing derivatives at +-1, f_n(y) = sum_{i<=n} 4^-i binom(2i, i) y (1 - y^2)^i;
 * g_n (coefficients over 1024) maps [delta_n, 1] into [3/4 - 0.002, 1] and so lifts small values fast. */
static const double f1[] = {1.5, -0.5};
static const double f2[] = {1.875, -1.25, 0.375};
static const double g1[] = {2126.0 / 1024, -1359.0 / 1024};
static const double g2[] = {3334.0 / 1024, -6108.0 / 1024, 3796.0 / 1024};
static const double g3[] = {4589.0 / 1024, -16577.0 / 1024, 25614.0 / 1024, -12860.0 / 1024};

/* Minimax composites with ReLU error at most 2^-alpha on [-1, 1], as released with [LLN22]. The tables of alpha 4
 * and 5 are stated there for arguments up to 2; the factor 2 is folded in here (exactly: powers of two). */
typedef struct alpha_table {
    unsigned alpha, n_stages, n_terms[3];
    double coef[3][15];
} alpha_table;

/* clang-format off */
static const alpha_table alphas[] = {
    {4, 1, {3},
     {{3.4061905100305245, -5.695343447177802, 3.3884281884347653},
     }},
    {5, 1, {7},
     {{7.6322637825523785, -76.27662004450943, 420.06572369806827, -1183.9051636304555,
       1748.9613679780207, -1289.525261848468, 374.1095959306323},
     }},
    {6, 2, {2, 4},
     {{3.5011230698579894, -2.96538463485077},
      {2.5008586578047596, -2.8356985393251115, 1.6508795809820305, -0.3394796746275418},
     }},
    {7, 2, {4, 4},
     {{7.304451649582514, -34.68258711086595, 59.859651829882615, -31.875522590646618},
      {2.400856522175978, -2.6312545426178398, 1.5491267477359323, -0.3311729565043044},
     }},
    {8, 2, {4, 8},
     {{8.831330720224168, -46.4575039895513, 83.02822347204082, -44.9928477828071},
      {3.948818850832632, -12.910301099228299, 28.08653621746583, -35.59691489651375, 26.515937088133732,
       -11.418488936844971, 2.6255844388133482, -0.24917229999864296},
     }},
    {9, 2, {8, 8},
     {{18.09662857188074, -434.03870327488613, 4154.971035456963, -18684.694361314923, 44165.71778893298,
       -56552.792898340194, 37115.61227257818, -9782.41933892782},
      {3.7975332336085668, -11.771815777119249, 24.977108667834695, -31.523884160399348,
       23.729486312672243, -10.433180019592323, 2.467439762608386, -0.2421301002476175},
     }},
    {10, 3, {4, 4, 7},
     {{10.854184257744249, -62.28339252110988, 114.36922782044336, -62.802349697307434},
      {4.139761709851119, -5.849976402116798, 2.9437625565928025, -0.45453043746015204},
      {3.2995673904373324, -7.8422726029135585, 12.89077641155647, -12.491711258448625, 6.941679914280749,
       -2.0429806739994296, 0.24640713892603125},
     }},
    {11, 3, {4, 4, 14},
     {{11.25906674029544, -65.4692933329974, 120.69463427775764, -66.4019695377825},
      {4.704776242108836, -6.798848515966816, 3.315251043828731, -0.48936293685989724},
      {5.363342576549535, -35.516955544196236, 177.8073041156442, -592.297395415025, 1348.9169188936273,
       -2158.7644508493822, 2473.656855869189, -2049.1354253624895, 1227.3931709055908, -525.8261751340026,
       156.9305587128408, -30.965859564591263, 3.6289400081496845, -0.19116028374993937},
     }},
    {12, 3, {4, 8, 14},
     {{11.552304235722389, -67.77945134409683, 125.28374040456207, -69.01429082329344},
      {9.65167636181627, -61.693917453846964, 155.1703516522981, -182.69758238321475, 112.91072652540605,
       -37.77524117702637, 6.475039097323445, -0.44561336572336147},
      {5.25888355571746, -33.7233593794284, 164.98308501345744, -541.4088914069928, 1222.9620799796357,
       -1952.019105664794, 2240.8402137830085, -1866.3491698317061, 1127.2211784312162, -488.0704746383801,
       147.49784630892094, -29.51710488795267, 3.5126952093099453, -0.18810183655787976},
     }},
    {13, 3, {8, 8, 14},
     {{24.55894154250046, -669.6604497168944, 6672.9984830133935, -30603.665616389873, 73188.40329877878,
       -94443.32170500845, 62325.40942125468, -16494.6744117806},
      {9.356256360354397, -59.16389639336264, 148.86093062644844, -175.81287487858293, 109.11129968595543,
       -36.67688399787556, 6.318462903112941, -0.43711341508217766},
      {5.078135697588613, -30.73299181371868, 144.10974681280942, -459.66168882614255, 1021.5206447045967,
       -1620.5625670887703, 1864.6764641657026, -1567.493008771435, 960.9703090934222, -424.32616187164666,
       131.27850925600367, -26.981257662611583, 3.3065138731556503, -0.182742944627534},
     }},
    {14, 3, {8, 14, 15},
     {{24.905214319375457, -682.38305758243, 6809.428453906, -31250.7100017106, 74765.93883637572,
       -96504.68384758393, 63697.79237782462, -16860.262134719014},
      {16.82855119260113, -339.81175049565945, 2790.699987938477, -11351.415157379079, 26623.001028374525,
       -39384.03286619759, 38788.42303480604, -26239.530384498867, 12365.620701653235, -4053.3646008999917,
       906.0428809510875, -131.687649208288, 11.21760790336237, -0.4249380204674712},
      {5.317554976893915, -35.437153153157794, 184.12244132914049, -655.3868301462533, 1638.7833542806081,
       -2953.8623704822644, 3908.0642336241867, -3834.9673916513134, 2799.606547665171,
       -1512.8623188669237, 596.1601393400098, -166.3217393029585, 31.098836973988487, -3.4934937450619072,
       0.17814215695649593},
     }},
};

/* clang-format on */

/* Minimax even polynomials for |u| on [-1, 1], halved, in T_k(2u^2 - 1): `rfhe paf design --even D`. */
typedef struct even_table {
    unsigned degree;
    double coef[16];
} even_table;

static const even_table evens[] = {
    {2, {0.3125, 0.25}},
    {4, {0.31659632301878216, 0.21618955036110787, -0.066596323018782169}},
    {8,
     {0.31785768142671034, 0.21314596555922899, -0.043499920922037097, 0.019509170398580227,
      -0.024357760504673243}},
    {14,
     {0.31816023612517691, 0.21250963591911956, -0.042756066668014424, 0.018525087662278592,
      -0.010474821292607477, 0.0068523647870117992, -0.0049549572731793588, 0.012112911631590041}},
    {30,
     {0.31827712479256787, 0.21227229155445279, -0.042507557601925705, 0.018256289646793902,
      -0.010173543162840614, 0.0065007218350195987, -0.0045243467304795859, 0.0033399776316083091,
      -0.0025752624512099848, 0.0020539035637021134, -0.0016836546533174819, 0.0014125045596641616,
      -0.0012094139874136739, 0.0010550635771422862, -0.00093710276060737134,
      0.0051092476316168516}},
};

/* ---- builders ---- */

static void put_stage(rfhe_paf *p, const double *coef, uint32_t n)
{
    memcpy(p->coef[p->n_stages], coef, n * sizeof *coef);
    p->n_terms[p->n_stages++] = n;
}

#define STAGE(p, table) put_stage((p), (table), (uint32_t)(sizeof(table) / sizeof *(table)))

static void put_even(rfhe_paf *p, const double *cheb, uint32_t n, double linear)
{
    *p = (rfhe_paf){.kind = RFHE_PAF_EVEN, .n_stages = 1, .n_terms = {n + 1}};
    memcpy(p->coef[0], cheb, n * sizeof *cheb);
    p->coef[0][n] = linear;
}

/* a0 + a1 u + a2 u^2 + a4 u^4, by u^2 = (1 + T1)/2 and u^4 = 3/8 + T1/2 + T2/8 in T_k(2u^2 - 1). */
static void put_even_monomials(rfhe_paf *p, double a0, double a1, double a2, double a4)
{
    const double c[3] = {a0 + a2 / 2 + a4 * 3 / 8, a2 / 2 + a4 / 2, a4 / 8};

    put_even(p, c, a4 != 0 ? 3 : 2, a1);
}

static void build_alpha(rfhe_paf *p, unsigned alpha)
{
    const alpha_table *t = &alphas[alpha - 4];

    *p = (rfhe_paf){.kind = RFHE_PAF_SIGN};
    for (unsigned k = 0; k < t->n_stages; k++) { put_stage(p, t->coef[k], t->n_terms[k]); }
}

static void build_even(rfhe_paf *p, unsigned degree)
{
    for (size_t i = 0; i < sizeof evens / sizeof *evens; i++) {
        if (evens[i].degree == degree) { put_even(p, evens[i].coef, degree / 2 + 1, 0.5); }
    }
}

static void build_f1g2(rfhe_paf *p, unsigned unused)
{
    (void)unused;
    *p = (rfhe_paf){.kind = RFHE_PAF_SIGN};
    STAGE(p, g2);
    STAGE(p, f1);
}

static void build_f2g2(rfhe_paf *p, unsigned unused)
{
    (void)unused;
    *p = (rfhe_paf){.kind = RFHE_PAF_SIGN};
    STAGE(p, g2);
    STAGE(p, f2);
}

static void build_f2g3(rfhe_paf *p, unsigned unused)
{
    (void)unused;
    *p = (rfhe_paf){.kind = RFHE_PAF_SIGN};
    STAGE(p, g3);
    STAGE(p, f2);
}

static void build_f1f1g1g1(rfhe_paf *p, unsigned unused)
{
    (void)unused;
    *p = (rfhe_paf){.kind = RFHE_PAF_SIGN};
    STAGE(p, g1);
    STAGE(p, g1);
    STAGE(p, f1);
    STAGE(p, f1);
}

static void build_square(rfhe_paf *p, unsigned unused)
{
    (void)unused;
    put_even_monomials(p, 0, 0, 1, 0);
}

static void build_delphi(rfhe_paf *p, unsigned unused)
{
    (void)unused;
    put_even_monomials(p, 0.1992, 0.5002, 0.1997, 0);
}

/* The line with the smallest largest error on [-1, 1]: for activations that are dropped. */
static void build_linear(rfhe_paf *p, unsigned unused)
{
    (void)unused;
    *p = (rfhe_paf){
        .kind = RFHE_PAF_GENERAL, .n_stages = 1, .n_terms = {2}, .coef = {{0.25, 0.5}}};
}

/* Orthogonal projection of ReLU under N(0, 1): phi(0) + x/2 + phi(0) He_2(x)/2! - phi(0) He_4(x)/4! + ... */
static void build_hermite(rfhe_paf *p, unsigned degree)
{
    const double phi0 = 0.39894228040143267794; /* 1/sqrt(2 pi) */

    if (degree == 2) {
        put_even_monomials(p, phi0 / 2, 0.5, phi0 / 2, 0);
    } else {
        put_even_monomials(p, phi0 * (0.5 - 3.0 / 24), 0.5, phi0 * (0.5 + 6.0 / 24), -phi0 / 24);
    }
}

/* The least-squares cubic under N(m, 1), in closed form: with z = x - m, ReLU(m + z) = h0 + h1 z + h2 (z^2 - 1)/2! +
 * h3 (z^3 - 3z)/3! + ..., h0 = m Phi(m) + phi(m), h1 = Phi(m), h2 = phi(m), h3 = -m phi(m). For m = 0 the cubic term
 * vanishes; m = -1/4 is where batch normalisation typically leaves the inputs of a ReLU. */
static void build_cubic(rfhe_paf *p, unsigned unused)
{
    const double m = -0.25, phi = 0.39894228040143267794 * exp(-m * m / 2);
    const double h1 = erfc(-m * 0.70710678118654752440) / 2, h0 = m * h1 + phi, h3 = -m * phi;
    const double z0 = h0 - phi / 2, z1 = h1 - h3 / 2, z2 = phi / 2, z3 = h3 / 6; /* powers of z */
    const double a0 = z0 - m * (z1 - m * (z2 - m * z3)), a1 = z1 - m * (2 * z2 - 3 * m * z3);
    const double a2 = z2 - 3 * m * z3, a3 = z3; /* powers of x */

    (void)unused;
    *p = (rfhe_paf){.kind = RFHE_PAF_GENERAL,
                    .n_stages = 1,
                    .n_terms = {4},
                    .coef = {{a0 + a2 / 2, a1 + 3 * a3 / 4, a2 / 2, a3 / 4}}};
}

typedef struct entry {
    rfhe_paf_form form;
    void (*build)(rfhe_paf *p, unsigned argument);
    unsigned argument;
} entry;

#define CHEON "Cheon, Kim, Kim, ePrint 2019/1234, sections 3.1 and 3.4"
#define LEE   "Lee, Lee, No, Kim, ePrint 2020/834; tables released with arXiv 2105.10879"
#define OURS  "minimax for |u|, this project: rfhe paf design --even"

static const entry catalogue[] = {
    {{"f1g2", "f1 after g2", CHEON, 0}, build_f1g2, 0},
    {{"f2g2", "f2 after g2", CHEON, 0}, build_f2g2, 0},
    {{"f2g3", "f2 after g3", CHEON, 0}, build_f2g3, 0},
    {{"f1f1g1g1", "f1, f1 after g1, g1", CHEON, 0}, build_f1f1g1g1, 0},
    {{"alpha4", "minimax, ReLU error 2^-4", LEE, 0}, build_alpha, 4},
    {{"alpha5", "minimax, ReLU error 2^-5", LEE, 0}, build_alpha, 5},
    {{"alpha6", "minimax, ReLU error 2^-6", LEE, 0}, build_alpha, 6},
    {{"alpha7", "minimax, ReLU error 2^-7", LEE, 0}, build_alpha, 7},
    {{"alpha8", "minimax, ReLU error 2^-8", LEE, 0}, build_alpha, 8},
    {{"alpha9", "minimax, ReLU error 2^-9", LEE, 0}, build_alpha, 9},
    {{"alpha10", "minimax, ReLU error 2^-10", LEE, 0}, build_alpha, 10},
    {{"alpha11", "minimax, ReLU error 2^-11", LEE, 0}, build_alpha, 11},
    {{"alpha12", "minimax, ReLU error 2^-12", LEE, 0}, build_alpha, 12},
    {{"alpha13", "minimax, ReLU error 2^-13", LEE, 0}, build_alpha, 13},
    {{"alpha14", "minimax, ReLU error 2^-14", LEE, 0}, build_alpha, 14},
    {{"even2", "one even polynomial, degree 2", OURS, 0}, build_even, 2},
    {{"even4", "one even polynomial, degree 4", OURS, 0}, build_even, 4},
    {{"even8", "one even polynomial, degree 8", OURS, 0}, build_even, 8},
    {{"even14", "one even polynomial, degree 14", OURS, 0}, build_even, 14},
    {{"even30", "one even polynomial, degree 30", OURS, 0}, build_even, 30},
    {{"linear", "a line: the activation is dropped", "minimax for ReLU: 1/4 + u/2", 0},
     build_linear,
     0},
    {{"square", "u^2", "CryptoNets, ICML 2016", 1}, build_square, 0},
    {{"delphi", "0.1992 + 0.5002 u + 0.1997 u^2", "Delphi, USENIX Security 2020 (released code)",
      1},
     build_delphi,
     0},
    {{"cubic", "least-squares cubic under N(-1/4, 1)",
      "closed form; stands for the degree-3 fits of earlier systems", 1},
     build_cubic,
     0},
    {{"hermite2", "Hermite projection of ReLU, degree 2",
      "HerPN of AESPA, arXiv 2201.06699, section 3", 1},
     build_hermite,
     2},
    {{"hermite4", "Hermite projection of ReLU, degree 4", "closed form under N(0, 1)", 1},
     build_hermite,
     4},
};

const rfhe_paf_form *rfhe_paf_form_at(size_t i)
{
    return i < sizeof catalogue / sizeof *catalogue ? &catalogue[i].form : NULL;
}

/* "even" and a number, as in "even6": the degree, or 0. */
static unsigned even_degree(const char *name)
{
    char *end = NULL;

    if (strncmp(name, "even", 4) != 0 || name[4] < '1' || name[4] > '9') { return 0; }
    const unsigned long d = strtoul(name + 4, &end, 10);
    return *end == '\0' && d <= 62 && d % 2 == 0 ? (unsigned)d : 0;
}

rfhe_status rfhe_paf_from_name(rfhe_paf *out, const char *name, rfhe_error *err)
{
    static const char suffix[] = ":reversed";
    char plain[32];
    const size_t full = strlen(name), tail = sizeof suffix - 1;
    const bool reversed = full > tail && strcmp(name + full - tail, suffix) == 0;
    const size_t length = reversed ? full - tail : full;

    if (length < sizeof plain) {
        memcpy(plain, name, length);
        plain[length] = '\0';
        for (size_t i = 0; i < sizeof catalogue / sizeof *catalogue; i++) {
            rfhe_paf p = {.kind = RFHE_PAF_SIGN};
            if (strcmp(catalogue[i].form.name, plain) != 0) { continue; }
            catalogue[i].build(&p, catalogue[i].argument);
            if (reversed && p.kind != RFHE_PAF_SIGN) {
                return rfhe_fail(err, RFHE_E_ARG,
                                 "form '%s' is one polynomial: it has no other order", plain);
            }
            if (reversed) { rfhe_paf_reverse(&p); }
            *out = p;
            return RFHE_OK;
        }
        if (!reversed && even_degree(plain) != 0) {
            return rfhe_paf_design_even(out, NULL, even_degree(plain), err);
        }
    }
    return rfhe_fail(err, RFHE_E_ARG, "there is no form called '%.60s'; `rfhe paf list` shows them",
                     name);
}

/* ---- the value itself ---- */

rfhe_status rfhe_paf_check(const rfhe_paf *p, rfhe_error *err)
{
    if (p->kind > RFHE_PAF_GENERAL || p->n_stages < 1 || p->n_stages > RFHE_PAF_MAX_STAGES ||
        (p->kind != RFHE_PAF_SIGN && p->n_stages != 1)) {
        return rfhe_fail(err, RFHE_E_ARG, "a polynomial of kind %d cannot have %u stages",
                         (int)p->kind, p->n_stages);
    }
    for (uint32_t k = 0; k < p->n_stages; k++) {
        const uint32_t least = p->kind == RFHE_PAF_SIGN ? 1 : p->kind == RFHE_PAF_EVEN ? 3 : 2;
        if (p->n_terms[k] < least || p->n_terms[k] > RFHE_PAF_MAX_TERMS) {
            return rfhe_fail(err, RFHE_E_ARG, "stage %u has %u coefficients, allowed are %u to %d",
                             k, p->n_terms[k], least, (int)RFHE_PAF_MAX_TERMS);
        }
        for (uint32_t j = 0; j < p->n_terms[k]; j++) {
            if (!isfinite(p->coef[k][j])) {
                return rfhe_fail(err, RFHE_E_ARG,
                                 "coefficient %u of stage %u is not a finite number", j, k);
            }
        }
    }
    return RFHE_OK;
}

void rfhe_paf_reverse(rfhe_paf *p)
{
    const rfhe_paf old = *p;

    for (uint32_t k = 0; k < old.n_stages; k++) {
        p->n_terms[k] = old.n_terms[old.n_stages - 1 - k];
        memcpy(p->coef[k], old.coef[old.n_stages - 1 - k], sizeof p->coef[k]);
    }
}

uint32_t rfhe_paf_degrees(const rfhe_paf *p, uint32_t degrees[RFHE_PAF_MAX_STAGES])
{
    for (uint32_t k = 0; k < p->n_stages; k++) {
        const uint32_t n = p->n_terms[k];
        degrees[k] = p->kind == RFHE_PAF_SIGN   ? 2 * n - 1
                     : p->kind == RFHE_PAF_EVEN ? 2 * (n - 2)
                                                : n - 1;
    }
    return p->n_stages;
}

size_t rfhe_paf_coef_count(const rfhe_paf *p)
{
    size_t n = 0;

    for (uint32_t k = 0; k < p->n_stages; k++) { n += p->n_terms[k]; }
    return n;
}

void rfhe_paf_coef_get(const rfhe_paf *p, double *flat)
{
    for (uint32_t k = 0; k < p->n_stages; k++) {
        for (uint32_t j = 0; j < p->n_terms[k]; j++) { *flat++ = p->coef[k][j]; }
    }
}

void rfhe_paf_coef_set(rfhe_paf *p, const double *flat)
{
    for (uint32_t k = 0; k < p->n_stages; k++) {
        for (uint32_t j = 0; j < p->n_terms[k]; j++) { p->coef[k][j] = *flat++; }
    }
}
