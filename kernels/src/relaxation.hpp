// What a cone can hold at most, and how it is split: see cones.cpp. Included once per instruction set.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <new>
#include <utility>
#include <vector>

#include "sphere.hpp"

namespace STEPPE_ISA {

namespace {

using steppe::Points;

template <int D> using Vec = std::array<double, D>;

template <int D> double dot(const Vec<D>& x, const Vec<D>& y) {
    double total = 0;
    for (int j = 0; j < D; ++j) total += x[j] * y[j];
    return total;
}

// Numbers at multiples of 64 bytes. Every loop runs over whole groups of eight: sums are the same in every thread.
template <class T> struct Aligned {
    using value_type = T;
    Aligned() = default;
    template <class U> Aligned(const Aligned<U>&) {}
    T* allocate(std::size_t n) { return static_cast<T*>(::operator new(n * sizeof(T), std::align_val_t(64))); }
    void deallocate(T* p, std::size_t) { ::operator delete(p, std::align_val_t(64)); }
    template <class U> bool operator==(const Aligned<U>&) const { return true; }
    template <class U> bool operator!=(const Aligned<U>&) const { return false; }
};
using Numbers = std::vector<double, Aligned<double>>;

inline std::size_t padded(std::size_t n) { return (n + 7) / 8 * 8; }

// Rows of positive weight first, column by column; weights |ρ|. Zeros pad both groups to multiples of eight.
struct Rows {
    std::size_t n, positive;
    Numbers z, weight;  // z[j · n + i]
};

inline Rows sorted_rows(const Points& points) {
    std::vector<std::size_t> order[2];
    for (std::size_t i = 0; i < points.n; ++i)
        if (points.rho[i] != 0) order[points.rho[i] < 0].push_back(i);
    const std::size_t positive = padded(order[0].size()), n = positive + padded(order[1].size());
    Rows rows{n, positive, Numbers(n * points.d), Numbers(n)};
    for (int half = 0; half < 2; ++half)
        for (std::size_t k = 0; k < order[half].size(); ++k) {
            const std::size_t i = order[half][k], to = k + (half ? positive : 0);
            rows.weight[to] = std::abs(points.rho[i]);
            for (std::size_t j = 0; j < points.d; ++j) rows.z[j * n + to] = points.z[i * points.d + j];
        }
    return rows;
}

template <int D> struct Cone {
    double bound;
    Vec<D> v[D];
    Vec<D> h;  // h_j = Σ max(a_i·v_j, 0) over the rows of this sign
    std::uint32_t centre;
    int sign;
};

// What one cone splits into, and the best points met on the way.
template <int D> struct Split {
    Cone<D> child[2];
    double value[3];
    Vec<D> w[3];
};

template <int D> class Worker {
  public:
    Worker(const Points& points, const Rows& rows, std::size_t steps)
        : points(points), rows(rows), steps(steps), columns((D + 2) * rows.n), l(padded(rows.n + D)),
          velocity(l.size()), gathered(D * l.size()), top(l.size()), chosen(rows.n + 1) {}

    // g at w for both halves of the rows: Σ max(a_i·w, 0) over positive and over negative weights.
    [[gnu::noinline]] std::array<double, 2> halves(const Vec<D>& w, std::size_t centre, double* out) const {
        products(w, centre, out, 0, rows.n);
        double sums[2] = {0, 0};
        for (int half = 0; half < 2; ++half) {
            const std::size_t end = half ? rows.n : rows.positive;
            double total = 0;
#pragma omp simd reduction(+ : total)
            for (std::size_t i = half ? rows.positive : 0; i < end; ++i) total += std::max(out[i], 0.0);
            sums[half] = total;
        }
        return {sums[0], sums[1]};
    }

    // Not inlined: every thread runs the same instructions, so that the last bits agree.
    [[gnu::noinline]] void split(const Cone<D>& cone, double threshold, Split<D>& out) {
        int a = 0, b = 1;
        double least = 2;
        for (int i = 0; i < D; ++i)
            for (int j = i + 1; j < D; ++j)
                if (const double x = dot<D>(cone.v[i], cone.v[j]); x < least) least = x, a = i, b = j;
        Vec<D> middle;
        for (int j = 0; j < D; ++j) middle[j] = cone.v[a][j] + cone.v[b][j];
        const double size = std::sqrt(dot<D>(middle, middle));
        for (double& x : middle) x /= size;
        const std::size_t n = rows.n, from = cone.sign > 0 ? rows.positive : 0, to = cone.sign > 0 ? n : rows.positive;
        double* fresh = &columns[D * n];
        const auto sums = halves(middle, cone.centre, fresh);
        out.value[2] = sums[0] - sums[1], out.w[2] = middle;
        for (int j = 0; j < D; ++j) products(cone.v[j], cone.centre, &columns[j * n], from, to);
        for (int k = 0; k < 2; ++k) {
            Cone<D>& child = out.child[k] = cone;
            const int replaced = k ? b : a;
            child.v[replaced] = middle, child.h[replaced] = cone.sign > 0 ? sums[0] : sums[1];
            const double* column[D];
            for (int j = 0; j < D; ++j) column[j] = &columns[j * n];
            column[replaced] = fresh;
            out.value[k] = 0;
            bound(child, column, from, to, threshold, out.value[k], out.w[k]);
        }
    }

  private:
    const Points& points;
    const Rows& rows;
    const std::size_t steps;
    Numbers columns, l, velocity, gathered, top;
    std::vector<std::uint32_t> chosen;
    std::size_t stride = 0;  // undecided rows and faces, padded

    void products(const Vec<D>& w, std::size_t centre, double* out, std::size_t from, std::size_t to) const {
        const double* z = rows.z.data();
        const std::size_t n = rows.n;
        double offset = 0;
        if (points.centred)
            for (int j = 0; j < D; ++j) offset += points.z[centre * D + j] * w[j];
#pragma omp simd
        for (std::size_t i = from; i < to; ++i) {
            double total = -offset;
            for (int j = 0; j < D; ++j) total += z[j * n + i] * w[j];
            out[i] = rows.weight[i] * total;
        }
    }

    // |u| + max_j (r_j − u·v_j)₊ / (v_j·c)
    double certified(const Cone<D>& cone, const Vec<D>& r, const Vec<D>& u, const Vec<D>& along) const {
        double most = 0;
        for (int j = 0; j < D; ++j) most = std::max(most, (r[j] - dot<D>(u, cone.v[j])) / along[j]);
        return std::sqrt(dot<D>(u, u)) + most;
    }

    // Lowers cone.bound to the best bound found; value and w: a point of the sphere to try.
    void bound(Cone<D>& cone, const double* const* column, std::size_t from, std::size_t to, double threshold,
               double& value, Vec<D>& w) {
        Vec<D> centre{}, along, r = cone.h, fixed;
        for (const Vec<D>& v : cone.v)
            for (int j = 0; j < D; ++j) centre[j] += v[j];
        const double size = std::sqrt(dot<D>(centre, centre));
        for (int j = 0; j < D; ++j) along[j] = dot<D>(cone.v[j], centre) / size;
        if (!(*std::min_element(along.begin(), along.end()) > 0)) return;  // too wide: split on
        for (int j = 0; j < D; ++j) {
            const double* t = column[j];
            double total = 0;
#pragma omp simd reduction(+ : total)
            for (std::size_t i = from; i < to; ++i) {
                double s = column[0][i];
                for (int k = 1; k < D; ++k) s += column[k][i];
                total += s > 0 ? t[i] : 0;
            }
            r[j] -= total;
        }
        const Vec<D> nothing{};
        cone.bound = std::min(cone.bound, certified(cone, r, nothing, along));
        if (cone.bound <= threshold) return;
        double at_centre = 0;
        for (const double x : r) at_centre += x;
        if (at_centre > threshold * size) return;  // no l prunes: the relaxation is too large at the centroid
        fixed = cone.h;
        const std::size_t m = undecided(column, from, to, fixed);
        descend(cone, column, m, fixed, along, threshold, value, w);
    }

    // Rows that change sign on the cone; the others are taken off `fixed`.
    std::size_t undecided(const double* const* column, std::size_t from, std::size_t to, Vec<D>& fixed) {
        std::size_t m = 0;
        Vec<D> active{};
        for (std::size_t i = from; i < to; ++i) {
            double low = column[0][i], high = low;
            for (int j = 1; j < D; ++j) low = std::min(low, column[j][i]), high = std::max(high, column[j][i]);
            chosen[m] = static_cast<std::uint32_t>(i);
            m += low < 0 && high > 0;
            const double keep = low >= 0 ? 1.0 : 0.0;
            for (int j = 0; j < D; ++j) active[j] += keep * column[j][i];
        }
        for (int j = 0; j < D; ++j) fixed[j] -= active[j];
        return m;
    }

    // W with v_j·W_k = 1 where j = k, else 0; false where the cone is too flat to tell.
    static bool dual_basis(const Cone<D>& cone, Vec<D>* W) {
        double m[D][2 * D] = {};
        for (int j = 0; j < D; ++j) {
            for (int k = 0; k < D; ++k) m[j][k] = cone.v[j][k];
            m[j][D + j] = 1;
        }
        for (int k = 0; k < D; ++k) {
            int pivot = k;
            for (int j = k + 1; j < D; ++j)
                if (std::abs(m[j][k]) > std::abs(m[pivot][k])) pivot = j;
            if (std::abs(m[pivot][k]) < 1e-13) return false;
            std::swap(m[pivot], m[k]);
            const double scale = 1 / m[k][k];
            for (double& x : m[k]) x *= scale;
            for (int j = 0; j < D; ++j)
                if (const double f = m[j][k]; j != k)
                    for (int c = k; c < 2 * D; ++c) m[j][c] -= f * m[k][c];
        }
        for (int j = 0; j < D; ++j)
            for (int k = 0; k < D; ++k) W[k][j] = m[j][D + k];
        return true;
    }

    // Columns of u = q0 + Σ_i x_i c_i: −a_i for the undecided rows (x in [0, 1]), then W_j, of similar size (x ≥ 0).
    void gather(std::size_t m, std::size_t centre, const Vec<D>* W) {
        const std::size_t M = stride = padded(m + D);
        for (int j = 0; j < D; ++j) {
            const double shift = points.centred ? points.z[centre * D + j] : 0;
            for (std::size_t i = 0; i < m; ++i)
                gathered[j * M + i] = rows.weight[chosen[i]] * (shift - rows.z[j * rows.n + chosen[i]]);
        }
        double squares = 0;
        for (int j = 0; j < D; ++j)
            for (std::size_t i = 0; i < m; ++i) squares += gathered[j * M + i] * gathered[j * M + i];
        const double scale = m ? std::sqrt(squares / m) : 1;
        for (int k = 0; k < D; ++k) {
            const double size = std::sqrt(dot<D>(W[k], W[k]));
            for (int j = 0; j < D; ++j) gathered[j * M + m + k] = scale / size * W[k][j];
        }
        for (int j = 0; j < D; ++j) std::fill(&gathered[j * M + m + D], &gathered[j * M] + M, 0.0);
    }

    // At least the largest eigenvalue of Σ c c', at most D^(1/8) times it: the eighth root of the trace of its eighth power.
    double curvature(std::size_t M) const {
        double g[D][D], square[D][D];
        for (int a = 0; a < D; ++a)
            for (int b = 0; b <= a; ++b) {
                double total = 0;
                const double *x = &gathered[a * M], *y = &gathered[b * M];
#pragma omp simd reduction(+ : total)
                for (std::size_t i = 0; i < M; ++i) total += x[i] * y[i];
                g[a][b] = g[b][a] = total;
            }
        double trace = 0;
        for (int a = 0; a < D; ++a) trace += g[a][a];
        if (!(trace > 0)) return 0;
        for (auto& line : g)
            for (double& x : line) x /= trace;
        for (int power = 0; power < 2; ++power) {
            for (int a = 0; a < D; ++a)
                for (int b = 0; b < D; ++b) {
                    square[a][b] = 0;
                    for (int k = 0; k < D; ++k) square[a][b] += g[a][k] * g[k][b];
                }
            std::copy(&square[0][0], &square[0][0] + D * D, &g[0][0]);
        }
        double total = 0;
        for (const auto& line : g)
            for (const double x : line) total += x * x;
        return trace * std::pow(total, 0.125);
    }

    // FISTA on |u|² over l and the multipliers of the cone's faces.
    void descend(Cone<D>& cone, const double* const* column, std::size_t m, const Vec<D>& fixed, const Vec<D>& along,
                 double threshold, double& value, Vec<D>& w) {
        Vec<D> W[D], q{};
        if (!dual_basis(cone, W)) return;
        gather(m, cone.centre, W);
        const std::size_t M = stride;
        const double L = curvature(M);
        if (!(L > 0)) return;
        for (int k = 0; k < D; ++k)
            for (int j = 0; j < D; ++j) q[j] += fixed[k] * W[k][j];
        for (std::size_t i = 0; i < m; ++i) {
            double s = 0;
            for (int j = 0; j < D; ++j) s += column[j][chosen[i]];
            l[i] = s > 0, top[i] = 1;
        }
        for (std::size_t i = m; i < M; ++i) l[i] = 0, top[i] = i < m + D ? std::numeric_limits<double>::infinity() : 0;
        std::copy(l.begin(), l.begin() + M, velocity.begin());
        double t = 1;
        Vec<D> u;
        double before = std::numeric_limits<double>::infinity();
        // The fewer columns, the more steps for the same time.
        const std::size_t most = steps * std::min<std::size_t>(8, std::max<std::size_t>(1, 64 / M));
        for (std::size_t step = 1; step <= most; ++step) {
            u = combination(q, velocity, 0, M);
            const double next = (1 + std::sqrt(1 + 4 * t * t)) / 2, momentum = (t - 1) / next, rate = 1 / L;
            t = next;
            const double* c = gathered.data();
#pragma omp simd
            for (std::size_t i = 0; i < M; ++i) {
                double slope = 0;
                for (int j = 0; j < D; ++j) slope += c[j * M + i] * u[j];
                const double moved = std::min(std::max(velocity[i] - rate * slope, 0.0), top[i]);
                velocity[i] = moved + momentum * (moved - l[i]);
                l[i] = moved;
            }
            if (step % 4) continue;
            u = combination(q, l, 0, M);
            const Vec<D> partial = combination(Vec<D>{}, l, 0, m);
            Vec<D> r;
            for (int j = 0; j < D; ++j) r[j] = fixed[j] + dot<D>(partial, cone.v[j]);
            cone.bound = std::min(cone.bound, std::min(certified(cone, r, u, along), certified(cone, r, Vec<D>{}, along)));
            if (cone.bound <= threshold) return;
            const double now = dot<D>(u, u);
            if (now > before) t = 1, std::copy(l.begin(), l.begin() + M, velocity.begin());  // the momentum overshoots
            before = now;
        }
        const double size = std::sqrt(dot<D>(u, u));
        if (!(size > 0)) return;
        for (int j = 0; j < D; ++j) w[j] = u[j] / size;
        const auto sums = halves(w, cone.centre, &columns[(D + 1) * rows.n]);
        value = sums[0] - sums[1];
    }

    Vec<D> combination(const Vec<D>& start, const Numbers& x, std::size_t from, std::size_t to) const {
        Vec<D> u;
        for (int j = 0; j < D; ++j) {
            const double* c = &gathered[j * stride];
            double total = 0;
#pragma omp simd reduction(+ : total)
            for (std::size_t i = from; i < to; ++i) total += c[i] * x[i];
            u[j] = start[j] + total;
        }
        return u;
    }
};

}  // namespace

}  // namespace STEPPE_ISA
