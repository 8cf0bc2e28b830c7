// What the Python module sees of one network in training, whatever its number type and instruction set.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

namespace steppe {

enum class Loss { squared, logistic };

// Shapes: w [m, d], b [m], v [k, m], output_bias [k], skip [k, d] or null; x [n, d], y [n, k]; all row by row.
// With patches [positions, d], columns of x [n, inputs], there is no skip, and w is [positions, m, d] and b [positions, m]
// unless the positions share them.
struct Shape {
    std::size_t n, d, m, k;
    bool skip;
    std::size_t inputs, positions;
    bool shared;
    const std::int64_t* patches;
};

template <class T> struct Parameters {
    T *w, *b, *v, *output_bias, *skip;
};

struct Progress {
    std::size_t steps, clipped;
    double loss;
};

struct Look {
    double clean_error;
    std::size_t live;
};

template <class T> class Descent {
  public:
    virtual ~Descent() = default;
    // The loss at the present parameters; leaves its gradient.
    virtual double evaluate() = 0;
    // `steps` times: move by the gradient at hand, evaluate. Ends early when the loss is not at most `limit`.
    //   θ ← keep·θ − step_size·min(1, clip/‖g‖)·g
    virtual Progress descend(std::size_t steps, double step_size, double keep, double clip, double limit) = 0;
    // Norm of gradient + decay·θ.
    virtual double gradient_norm(double decay) const = 0;
    virtual double parameter_norm() const = 0;
    virtual void read(Parameters<T> out) const = 0;
    virtual void read_gradient(Parameters<T> out) const = 0;
    virtual void save() = 0;
    virtual void restore() = 0;
    // One pass forward: mean squared distance to `clean` [n, k] (if not null), and the neurons active on any sample.
    virtual Look look(const T* clean) = 0;
};

#define STEPPE_MAKERS                                                                                                  \
    std::unique_ptr<steppe::Descent<float>> make(steppe::Shape, steppe::Parameters<const float>, const float* x,       \
                                                 const float* y, steppe::Loss);                                        \
    std::unique_ptr<steppe::Descent<double>> make(steppe::Shape, steppe::Parameters<const double>, const double* x,    \
                                                  const double* y, steppe::Loss);

}  // namespace steppe

namespace avx512 {
STEPPE_MAKERS
}
namespace avx2 {
STEPPE_MAKERS
}
namespace plain {
STEPPE_MAKERS
}
