/* Networks by name, freshly initialised. The names of nodes and weights are those PyTorch users know ("layer2.0.conv1"),
 * and resnet20/32/44/56 are, node by node, the graphs of the published CIFAR-10 models with option-A shortcuts.
 *
 *   resnet20 resnet32 resnet44 resnet56   He et al. 2016, section 4.2: 16-32-64 channels, 3 x n blocks; the shortcut
 *                                         between stages is Slice (every second row and column) + Pad (zero channels)
 *   resnet18                              the same paper, section 4.1: 7x7 stem, 3x3 maximum, projection shortcuts
 *   vgg16                                 13 convolutions with BN; one dense layer up to 64 pixels, three above
 *   lenet                                 LeCun et al. 1998 with ReLU and maximum pooling
 *   fashion-cnn                           3 x (convolution, BN, ReLU), 2 maxima between, dense; 32-64-64 channels:
 *                                         small and shallow, for encrypted inference on 28x28 images */
#ifndef RFHE_NN_ZOO_H
#define RFHE_NN_ZOO_H

#include "nn/graph.h"

typedef struct rfhe_zoo_options { /* zero state: the architecture's own sizes */
    double width;                 /* multiplies every inner channel count, rounded, at least 1; 0 = 1      */
    uint32_t channels, image_height, image_width; /* 0 = 3x32x32, 3x224x224 or 1x28x28, by name      */
    uint32_t classes;             /* 0 = 10, for resnet18 1000                                             */
    uint64_t seed;                /* of the weights                                                        */
} rfhe_zoo_options;

/* Builds `name` with input "input" (N x channels x height x width), output "logits" (N x classes). Convolutions are
 * normal with variance 2 / fan-in (He et al. 2015), dense layers uniform in +-1/sqrt(fan-in), BN scale 1 and shift 0.
 * RFHE_E_ARG when the name is unknown (the sentence lists them) or the image is too small. */
RFHE_MUST_USE rfhe_status rfhe_zoo_build(rfhe_graph **out, const char *name,
                                         const rfhe_zoo_options *opt, rfhe_error *err);
/* The names in the order above, ended by NULL. */
const char *const *rfhe_zoo_names(void);
bool rfhe_zoo_has(const char *name);

#endif
