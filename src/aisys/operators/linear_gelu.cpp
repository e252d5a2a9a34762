// The operator linear_gelu for the CPU, on PyTorch's stable ABI.
#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>

#include "gelu_rows.cpp"
#include "scale_and_sum.cpp"

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

// Given, and an example of how an operator is written and registered: its backward pass.
// upstream, slope: [..., out_features]; x: [..., in_features]; weight: [out_features, in_features].
static std::tuple<Tensor, Tensor, Tensor> linear_gelu_backward(
    const Tensor& upstream, const Tensor& slope, const Tensor& x, const Tensor& weight) {
    const int64_t columns = weight.size(0), inner = weight.size(1);
    int64_t rows = 1;
    for (int64_t axis = 0; axis + 1 < slope.dim(); ++axis) rows *= slope.size(axis);
    const Tensor from = torch::stable::contiguous(upstream), kept = torch::stable::contiguous(slope);
    Tensor scaled = torch::stable::empty_like(kept);
    Tensor bias_gradient = torch::stable::new_empty(kept, {columns});
    scale_and_sum(
        from.const_data_ptr<float>(), kept.const_data_ptr<float>(),
        scaled.mutable_data_ptr<float>(), bias_gradient.mutable_data_ptr<float>(), rows, columns);
    const Tensor flat = torch::stable::reshape(scaled, {rows, columns});
    const Tensor inputs = torch::stable::reshape(x, {rows, inner});
    Tensor weight_gradient = torch::stable::matmul(torch::stable::transpose(flat, 0, 1), inputs);
    return {torch::stable::matmul(scaled, weight), weight_gradient, bias_gradient};
}

STABLE_TORCH_LIBRARY_FRAGMENT(AISYS_NAMESPACE, given) {
    given.def(
        "linear_gelu_backward(Tensor upstream, Tensor slope, Tensor x, Tensor weight)"
        " -> (Tensor, Tensor, Tensor)");
}

STABLE_TORCH_LIBRARY_IMPL(AISYS_NAMESPACE, CPU, given) {
    given.impl("linear_gelu_backward", TORCH_BOX(&linear_gelu_backward));
}

// Given: refuse a tensor that has not so many dimensions (-1: one or more) or is not of float32.
// STD_TORCH_CHECK(condition, parts of a sentence) raises a RuntimeError where a condition is false.
static void require(const char* name, const Tensor& tensor, int64_t dims) {
    const int64_t found = tensor.dim();
    STD_TORCH_CHECK(
        dims < 0 ? found > 0 : found == dims, name, ": expected ", dims < 0 ? 1 : dims,
        dims < 0 ? " or more dimensions; it has " : " dimensions; it has ", found);
    STD_TORCH_CHECK(
        tensor.scalar_type() == ScalarType::Float, name, ": expected dtype float32; it has ",
        torch::headeronly::toString(tensor.scalar_type()));
}

// Yours: two operators, registered for the CPU with exactly these schemas,
//
//   linear_gelu(Tensor x, Tensor weight, Tensor bias) -> Tensor
//   linear_gelu_slope(Tensor x, Tensor weight, Tensor bias) -> (Tensor, Tensor)
//
// x: [..., in_features], weight: [out_features, in_features], bias: [out_features]. The first gives
// GELU(x weight^T + bias): [..., out_features]; the second that and the slope of the GELU at every
// element, for the backward pass.
//
// Refuse what does not fit, by `require` and by STD_TORCH_CHECK with a sentence that begins with the
// argument's name, "weight: expected ...". The product is PyTorch's, through the dispatcher:
// torch::stable::matmul(a, b). Add the bias and take the GELU in place, with gelu_rows, which wants
// contiguous memory: torch::stable::contiguous(a). The memory of a Tensor is
// a.mutable_data_ptr<float>() or a.const_data_ptr<float>(). No element is no error: give gelu_rows
// none. One function with a flag can serve both operators.

// BEGIN SOLUTION
static std::tuple<Tensor, Tensor> forward(
    const Tensor& x, const Tensor& weight, const Tensor& bias, bool with_slope) {
    require("x", x, -1);
    require("weight", weight, 2);
    require("bias", bias, 1);
    const int64_t inner = x.size(x.dim() - 1), columns = weight.size(0);
    STD_TORCH_CHECK(
        weight.size(1) == inner,
        "weight: expected as many columns as x has features, ", inner, "; it has ", weight.size(1));
    STD_TORCH_CHECK(
        bias.size(0) == columns,
        "bias: expected as many elements as weight has rows, ", columns, "; it has ", bias.size(0));
    const Tensor offset = torch::stable::contiguous(bias);
    const Tensor turned = torch::stable::transpose(weight, 0, 1);
    Tensor result = torch::stable::contiguous(torch::stable::matmul(x, turned));
    Tensor slope = with_slope ? torch::stable::empty_like(result) : result;
    if (result.numel() > 0) {
        gelu_rows(
            result.mutable_data_ptr<float>(), offset.const_data_ptr<float>(),
            with_slope ? slope.mutable_data_ptr<float>() : nullptr,
            result.numel() / columns, columns);
    }
    return {result, slope};
}

static Tensor linear_gelu(const Tensor& x, const Tensor& weight, const Tensor& bias) {
    return std::get<0>(forward(x, weight, bias, false));
}

static std::tuple<Tensor, Tensor> linear_gelu_slope(
    const Tensor& x, const Tensor& weight, const Tensor& bias) {
    return forward(x, weight, bias, true);
}

STABLE_TORCH_LIBRARY_FRAGMENT(AISYS_NAMESPACE, library) {
    library.def("linear_gelu(Tensor x, Tensor weight, Tensor bias) -> Tensor");
    library.def("linear_gelu_slope(Tensor x, Tensor weight, Tensor bias) -> (Tensor, Tensor)");
}

STABLE_TORCH_LIBRARY_IMPL(AISYS_NAMESPACE, CPU, library) {
    library.impl("linear_gelu", TORCH_BOX(&linear_gelu));
    library.impl("linear_gelu_slope", TORCH_BOX(&linear_gelu_slope));
}
// END SOLUTION
