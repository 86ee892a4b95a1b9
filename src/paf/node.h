/* A PAF as a node of a network: made out of a Relu, run and trained through nn/custom.h, written as standard ONNX and
 * found again after reading.
 *
 * The node's inputs: x, coefficients [sets][n_coef] (trained), scales [sets] (fixed). sets is 1 or the number of channels.
 * Every exported node leaves a record rfhe.paf.N in the metadata (JSON: node, input, output, form, kind, terms, scale,
 * coef), with which rfhe_paf_fuse recognises the chain of Mul, Add and Sub again, and which other programs may read. */
#ifndef RFHE_PAF_NODE_H
#define RFHE_PAF_NODE_H

#include "nn/custom.h"
#include "rfhe/paf.h"

extern const rfhe_custom_op rfhe_paf_custom;

/* What training changes about the PAFs of a network from outside; shared by its nodes, read at every run. Zero state:
 * the plain polynomial. Only executors made for training look at alpha, clamp and penalty. */
typedef struct rfhe_paf_control {
    double alpha; /* y = alpha relu(x) + (1 - alpha) paf(x)                                           */
    double clamp; /* c > 0: the polynomial sees x clamped to [-c scale, c scale]; no gradient passes
                   * beyond; 0 = no clamp                                                             */
    double penalty; /* w: adds w sum(max(0, |x| / (range scale) - 1)^2) of every activation to the
                     * loss, summed over the values of an image, mean over images                     */
    double range;   /* 0 = 1                                                                          */
    bool dynamic;   /* the scale is the largest |x| of the batch; in evaluation too                   */
    double penalty_sum;    /* out: the sums above, without w, added up over activations and steps     */
    uint64_t penalty_runs; /* out: activations times steps                                            */
} rfhe_paf_control;

static inline bool rfhe_paf_node_is(const rfhe_node *n)
{
    return n->op == RFHE_OP_CUSTOM && n->attr.custom.op == &rfhe_paf_custom;
}

/* Turns node `at` (Relu, Clip or a PAF, one output) into the PAF p[sets] with scale[sets], all p of one shape. `form` is
 * the name for reports. RFHE_E_ARG, RFHE_E_NOMEM. */
RFHE_MUST_USE rfhe_status rfhe_paf_node_set(rfhe_graph *g, uint32_t at, const char *form,
                                            const rfhe_paf *p, const double *scale, size_t sets,
                                            rfhe_error *err);
/* Reads it back: *sets, and if p and scale are not NULL their values. RFHE_E_ARG when it is not a sound PAF node. */
RFHE_MUST_USE rfhe_status rfhe_paf_node_get(const rfhe_graph *g, const rfhe_node *n, rfhe_paf *p,
                                            double *scale, size_t *sets, rfhe_error *err);
/* Whether it is a polynomial of degree 1, a general one: the form "linear". Needs no multiplication of ciphertexts. */
bool rfhe_paf_node_is_line(const rfhe_node *n);
static inline const char *rfhe_paf_node_form(const rfhe_node *n)
{
    return n->attr.custom.label;
}
/* All PAFs of the network listen to `control` from now on (NULL: to none); it must outlive what runs the network. */
void rfhe_paf_set_control(rfhe_graph *g, rfhe_paf_control *control);

/* Turns the chains that the metadata describes back into PAF nodes; chains that differ from what export writes stay as
 * they are. Needs shapes (rfhe_graph_infer). *fused (may be NULL) counts. The records of fused nodes are removed: the
 * next export writes them anew. RFHE_E_FORMAT for metadata that makes no sense. */
RFHE_MUST_USE rfhe_status rfhe_paf_fuse(rfhe_graph *g, uint32_t *fused, rfhe_error *err);

/* The same function of x for another scale: even and general forms by interpolation, sign forms by their first stage.
 * Exact up to rounding; `from` and `to` > 0. */
void rfhe_paf_rescale(rfhe_paf *p, double from, double to);

#endif
