// What is the same in every extension: arguments are looked at, then a kernel is launched.
//
// The operators beside it are generated (extension.py): one for each kernel of a text launches it.
// They stand on PyTorch's stable ABI, so one library serves every PyTorch from 2.10 on.
#include <cuda_runtime_api.h>
#include <torch/csrc/stable/accelerator.h>
#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/tensor.h>

#include <cstdint>
#include <cstring>
#include <limits>
#include <optional>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <vector>

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

// The stream that PyTorch's own kernels go to at the moment. In libtorch_cuda; weak, so that the
// library can be loaded where PyTorch was built without CUDA.
extern "C" __attribute__((weak)) AOTITorchError aoti_torch_get_current_cuda_stream(
    int32_t device, void** stream);

// A kernel of the text by its number; it stands with the text, in what nvcc compiles.
__attribute__((visibility("hidden"))) const void* aisys_kernel(int number);

class Launch {
 public:
  Launch(
      const char* kernel, int number, const std::vector<int64_t>& grid,
      const std::vector<int64_t>& block, int64_t shared_bytes)
      : kernel_(kernel), function_(aisys_kernel(number)), grid_(sizes("grid", grid)),
        block_(sizes("block", block)), shared_bytes_(shared_bytes) {
    if (shared_bytes < 0 || shared_bytes > std::numeric_limits<int>::max())
      refuse("shared_bytes is " + std::to_string(shared_bytes) + ": no number of bytes");
  }

  // A pointer: the memory of a tensor that lies on the GPU, row by row.
  void array(const char* name, const Tensor& tensor, ScalarType wanted) {
    const std::string about = std::string("`") + name + "` ";
    if (!tensor.is_cuda())
      refuse(about + "does not lie on a GPU, and this operator launches on one; move it with "
             ".cuda(), or launch on the emulator");
    if (tensor.scalar_type() != wanted)
      refuse(about + "points to " + torch::headeronly::toString(wanted) + "; the tensor holds " +
             torch::headeronly::toString(tensor.scalar_type()));
    if (!tensor.is_contiguous())
      refuse(about + "must lie in memory row by row: use .contiguous()");
    const int32_t device = tensor.get_device_index();
    if (device_ && *device_ != device)
      refuse(about + "lies on GPU " + std::to_string(device) + ", another argument on GPU " +
             std::to_string(*device_));
    device_ = device;
    keep(tensor.data_ptr());
  }

  // A number, as the type T that the kernel declares.
  template <typename T, typename Given>
  void number(const char* name, Given given) {
    const T value = static_cast<T>(given);
    if (std::is_integral_v<T> &&
        (static_cast<Given>(value) != given || (std::is_unsigned_v<T> && given < Given(0))))
      refuse(std::string("`") + name + "` is " + std::to_string(given) +
             ", which does not fit its type");
    keep(value);
  }

  // Launch on the current stream of PyTorch, and do not wait.
  void start() {
    if (!aoti_torch_get_current_cuda_stream) refuse("this PyTorch was built without CUDA");
    const int32_t device = device_ ? *device_ : torch::stable::accelerator::getCurrentDeviceIndex();
    torch::stable::accelerator::DeviceGuard guard(device);
    void* stream = nullptr;
    TORCH_ERROR_CODE_CHECK(aoti_torch_get_current_cuda_stream(device, &stream));
    const size_t bytes = static_cast<size_t>(shared_bytes_);
    if (bytes > 48u << 10)  // more than every kernel may have
      require(cudaFuncSetAttribute(
          function_, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(bytes)));
    std::vector<void*> arguments;
    for (uint64_t& value : values_) arguments.push_back(&value);
    require(cudaLaunchKernel(
        function_, grid_, block_, arguments.data(), bytes, static_cast<cudaStream_t>(stream)));
  }

 private:
  [[noreturn]] void refuse(const std::string& sentence) const {
    throw std::runtime_error(kernel_ + ": " + sentence + ".");
  }

  void require(cudaError_t status) const {
    if (status == cudaSuccess) return;
    cudaGetLastError();  // the next launch does not find it again
    refuse(std::string("CUDA does not launch it: ") + cudaGetErrorString(status));
  }

  dim3 sizes(const char* what, const std::vector<int64_t>& given) const {
    const int64_t most = std::numeric_limits<int>::max();
    bool right = given.size() == 3;
    for (int64_t size : given) right = right && size >= 1 && size <= most;
    if (!right) refuse(std::string("the ") + what + " is three whole numbers from 1 up");
    return dim3(
        static_cast<unsigned>(given[0]), static_cast<unsigned>(given[1]),
        static_cast<unsigned>(given[2]));
  }

  template <typename T>
  void keep(T value) {
    static_assert(sizeof(T) <= sizeof(uint64_t));
    uint64_t& slot = values_.emplace_back(0);
    std::memcpy(&slot, &value, sizeof(T));
  }

  std::string kernel_;
  const void* function_;
  dim3 grid_, block_;
  int64_t shared_bytes_;
  std::optional<int32_t> device_;
  std::vector<uint64_t> values_;
};
