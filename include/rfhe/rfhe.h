/* The whole of librfhe in one include. Conventions that hold everywhere are in docs/conventions.md. */
#ifndef RFHE_RFHE_H
#define RFHE_RFHE_H

#include "rfhe/ckks.h"
#include "rfhe/data.h"
#include "rfhe/paf.h"
#include "rfhe/onnx.h"
#include "rfhe/status.h"

#endif
