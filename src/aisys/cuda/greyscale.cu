// grey = 0.299 red + 0.587 green + 0.114 blue for every pixel of an image, with two indices.
//
// image: [3, rows, columns], the red plane, then the green one, then the blue one, each row by row;
// grey: [rows, columns]. The kernel is launched with two-dimensional blocks of any size; the grid has
// enough blocks in x for the columns and enough in y for the rows. What is judged: the grey values,
// and the 32-byte sectors that are moved for them. The threads of a warp differ in threadIdx.x first.
__global__ void greyscale(const float *image, float *grey, int rows, int columns) {
    // BEGIN SOLUTION
    const int column = blockIdx.x * blockDim.x + threadIdx.x;
    const int row = blockIdx.y * blockDim.y + threadIdx.y;
    if (row >= rows || column >= columns) return;
    const int pixel = row * columns + column, plane = rows * columns;
    grey[pixel] = 0.299f * image[pixel] + 0.587f * image[plane + pixel] + 0.114f * image[2 * plane + pixel];
    // END SOLUTION
}
