// The horizontal gradient of an image: each pixel's right neighbour minus the pixel itself. The last
// pixel of a row has no right neighbour; its gradient is 0.
//
// image, gradient: [height, width], float32, row by row. Blocks are two-dimensional and cover the
// image, a thread a pixel.
//
// Something is wrong with this kernel. On a GPU it seldom crashes: what lies behind the array is often
// another array.

__global__ void horizontal_gradient(const float *image, float *gradient, int height, int width) {
  int column = blockIdx.x * blockDim.x + threadIdx.x;
  int row = blockIdx.y * blockDim.y + threadIdx.y;
  // BEGIN START
  if (row >= height || column >= width) return;
  int pixel = row * width + column;
  float right = column <= width - 1 ? image[pixel + 1] : image[pixel];
  gradient[pixel] = right - image[pixel];
  // END START
  // BEGIN SOLUTION
  if (row >= height || column >= width) return;
  int pixel = row * width + column;
  float right = column < width - 1 ? image[pixel + 1] : image[pixel];
  gradient[pixel] = right - image[pixel];
  // END SOLUTION
}
