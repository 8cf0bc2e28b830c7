// What the Python module sees of the maximum of |Σ_i ρ_i max(z_i·w, 0)| over the unit sphere, whatever its instruction set.
#pragma once

#include <array>
#include <cstddef>
#include <limits>
#include <vector>

namespace steppe {

constexpr std::size_t most_dimensions = 7;
constexpr std::size_t no_centre = std::numeric_limits<std::size_t>::max();

// Rows z [n, d] row by row and weights ρ [n]. Centred: n problems at once, the j-th with rows z_i − z_j.
struct Points {
    std::size_t n, d;
    const double *z, *rho;
    bool centred;
};

// A unit vector at which the function (of problem `centre`) has `value` in absolute terms.
struct Candidate {
    double value;
    std::size_t centre;
    std::array<double, most_dimensions> w;
};

struct Enumerated {
    double value;
    std::vector<Candidate> found;
};

// Where a branch and bound may stop: below target, or below (1 + precision) times the best value known.
struct Search {
    double target, precision, known;
    bool halves;  // the function is even (to rounding): one of every two opposite cones is enough
    bool early;   // stop soon after a point above the target has been found
    std::size_t most_cones, threads, steps;
};

struct Bounded {
    double lower, upper;
    std::size_t cones;
    bool finished;
    std::vector<Candidate> found;
};

#define STEPPE_SPHERE                                                                                                  \
    steppe::Enumerated enumerate(const steppe::Points&, double target, std::size_t threads);                           \
    steppe::Bounded bound(const steppe::Points&, const steppe::Search&);

}  // namespace steppe

namespace avx512 {
STEPPE_SPHERE
}
namespace avx2 {
STEPPE_SPHERE
}
namespace plain {
STEPPE_SPHERE
}
