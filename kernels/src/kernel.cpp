// Full-batch gradient descent of one shallow ReLU network, compiled once per instruction set.
//
// f(x) = Σ_k v_k max(w_k·x − b_k, 0) [+ C x] + β. Neurons lie in the lanes. A tile of samples goes forward, which
// leaves one bit per pair of neuron and sample, and then backward, which needs nothing else: by homogeneity the sums
//
//     q[k, o, j] = Σ_i r[i, o] 1[z_ik > 0] x̃_ij,   x̃ = (x, 1),   r = ∂L/∂f,
//
// give ∂L/∂w̃_k = Σ_o v_ok q[k, o, ·] and ∂L/∂v_ok = ⟨w̃_k, q[k, o, ·]⟩ with w̃ = (w, −b). No array of n × m numbers is
// ever written, and a tile's bits stay in the first cache. Per pair and step: d + k multiply-adds forward, k(d + 1)
// additions backward.
//
// A network of patches averages over l positions p, f(x) = (1/l) Σ_p Σ_k v_k max(w_k·x_p − b_k, 0) + β, where x_p are d
// columns of x and the weights are shared by the positions or each position's own. The positions of a tile go forward
// one after another into the same sums, and backward with the residual that they share; bits of all of them are kept.
#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <limits>
#include <new>
#include <type_traits>
#include <vector>

#include "descent.hpp"
#include "vectors.hpp"

// Loops over registers; their bounds are constants.
#define UNROLLED _Pragma("GCC unroll 16")

namespace STEPPE_ISA {

namespace {

using steppe::Look;
using steppe::Loss;
using steppe::Parameters;
using steppe::Progress;
using steppe::Shape;

constexpr std::size_t tile = 128;   // samples that go forward and backward together
constexpr int block = 4;            // vectors of neurons whose weights or sums stay in registers
constexpr int samples_at_once = 4;  // divides the tile
constexpr int columns_at_once = 6;  // of q; block · columns_at_once registers hold sums

// Memory for whole vectors, zeros at first.
template <class T> class Aligned {
  public:
    explicit Aligned(std::size_t size) : size_(size) {
        const std::size_t bytes = std::max<std::size_t>(64, (size * sizeof(T) + 63) / 64 * 64);
        data_ = static_cast<T*>(std::aligned_alloc(64, bytes));
        if (!data_) throw std::bad_alloc();
        std::memset(static_cast<void*>(data_), 0, bytes);
    }
    Aligned(const Aligned&) = delete;
    Aligned& operator=(const Aligned&) = delete;
    ~Aligned() { std::free(data_); }
    operator T*() { return data_; }
    operator const T*() const { return data_; }
    std::size_t size() const { return size_; }
    void copy(const Aligned& other) { std::copy(other.data_, other.data_ + size_, data_); }

  private:
    T* data_;
    std::size_t size_;
};

// FixedInputs and FixedOutputs are d and k where the compiler may know them, else 0.
template <class T, std::size_t FixedInputs, std::size_t FixedOutputs> class Network final : public steppe::Descent<T> {
    using V = Vector<T>;
    using Register = typename V::Register;
    using Mask = typename V::Mask;
    using Stored = typename V::Stored;
    static constexpr std::size_t L = V::lanes, step = L < samples_at_once ? samples_at_once : L;

  public:
    Network(Shape shape, Parameters<const T> from, const T* x, const T* y, Loss loss)
        : n(shape.n), inputs(shape.d), outputs(shape.k), m(shape.m), vectors((shape.m + L - 1) / L),
          skip(shape.skip), loss(loss), given(shape.inputs), positions(shape.positions),
          groups(shape.shared ? 1 : shape.positions),
          patches(shape.patches, shape.patches + (shape.patches ? shape.positions * shape.d : 0)),
          tiles((shape.n + tile - 1) / tile), X(tiles * tile * (shape.inputs + 1)), Y(tiles * tile * shape.k),
          P(tail_at() + tail_size()), G(P.size()), saved(P.size()),
          Q(groups * vectors * columns() * L), masks(positions * vectors * tile), sums(shape.k * tile * L),
          R(columns() * tile), gathered(patches.empty() ? 0 : (shape.d + 1) * tile), scaled(block * (shape.d + 1) * L),
          least(vectors * L) {
        for (std::size_t i = 0; i < tiles * tile; ++i) {
            const std::size_t source = std::min(i, n - 1);  // beyond the last sample its copies, without weight
            T* const place = X + i / tile * (given + 1) * tile + i % tile;
            for (std::size_t j = 0; j < given; ++j) place[j * tile] = x[source * given + j];
            place[given * tile] = i < n;
            for (std::size_t o = 0; o < k(); ++o) Y[(i / tile * k() + o) * tile + i % tile] = y[source * k() + o];
        }
        for (std::size_t i = 0; i < groups * m; ++i) {
            T* const place = P + weights_at(i / m) + neuron(i % m, D());
            for (std::size_t j = 0; j < d(); ++j) place[j * L] = from.w[i * d() + j];
            place[d() * L] = -from.b[i];
        }
        for (std::size_t o = 0; o < k(); ++o)
            for (std::size_t i = 0; i < m; ++i) P[output_weights_at() + neuron(i, k()) + o * L] = from.v[o * m + i];
        std::copy(from.output_bias, from.output_bias + k(), tail(P));
        if (skip) std::copy(from.skip, from.skip + k() * d(), tail(P) + k());
        const T epsilon = std::numeric_limits<T>::epsilon();
        std::fill(least + 0, least + m, std::numeric_limits<T>::min() / epsilon / epsilon / epsilon);
        save();
    }

    double evaluate() override {
        std::fill(tail(G), tail(G) + tail_size(), T(0));
        double total = 0;
        for (std::size_t t = 0; t < tiles; ++t) {
            forward(t);
            total += residuals(t);
            for (std::size_t p = 0; p < positions; ++p) {
                spread(t, p);
                backward(t, p);
            }
            if (skip) skip_gradient(t);
        }
        assemble();
        return total / n;
    }

    Progress descend(std::size_t steps, double step_size, double keep, double clip, double limit) override {
        Progress progress{0, 0, 0};
        while (progress.steps < steps) {
            double factor = step_size;
            if (std::isfinite(clip)) {
                const double norm = gradient_norm(0);
                if (norm > clip) {
                    factor *= clip / norm;
                    ++progress.clipped;
                }
            }
            move(static_cast<T>(factor), static_cast<T>(keep));
            ++progress.steps;
            progress.loss = evaluate();
            if (!(progress.loss <= limit)) break;
        }
        return progress;
    }

    double gradient_norm(double decay) const override {
        const Register scale = V::all(static_cast<T>(decay));
        Register squares[4] = {V::zero(), V::zero(), V::zero(), V::zero()};
        for (std::size_t i = 0, lane = 0; i < P.size(); i += L, ++lane) {
            const Register g = V::multiply_add(scale, V::load(P + i), V::load(G + i));
            squares[lane % 4] = V::multiply_add(g, g, squares[lane % 4]);
        }
        const double total = V::sum(V::add(V::add(squares[0], squares[1]), V::add(squares[2], squares[3])));
        if (std::isfinite(total)) return std::sqrt(total);
        double exact = 0;  // squares that overflow in T
        for (std::size_t i = 0; i < P.size(); ++i) {
            const double g = static_cast<double>(G[i]) + decay * static_cast<double>(P[i]);
            exact += g * g;
        }
        return std::sqrt(exact);
    }

    double parameter_norm() const override {
        double total = 0;
        for (std::size_t i = 0; i < P.size(); ++i) total += static_cast<double>(P[i]) * static_cast<double>(P[i]);
        return std::sqrt(total);
    }

    void read(Parameters<T> out) const override { copy_out(P, out); }
    void read_gradient(Parameters<T> out) const override { copy_out(G, out); }
    void save() override { saved.copy(P); }
    void restore() override { P.copy(saved); }

    Look look(const T* clean) override {
        Look found{0, 0};
        std::vector<char> live(groups * vectors * L, 0);
        for (std::size_t t = 0; t < tiles; ++t) {
            forward(t);
            for (std::size_t s = 0; s < size_of(t); s += L)
                for (std::size_t o = 0; clean && o < k(); ++o) {
                    alignas(64) T f[L];
                    V::store(f, values(t, s, o));
                    for (std::size_t i = t * tile + s, lane = 0; lane < L && i < n; ++lane, ++i) {
                        const double gap = static_cast<double>(f[lane]) - static_cast<double>(clean[i * k() + o]);
                        found.clean_error += gap * gap / n;
                    }
                }
            mark_live(t, live);
        }
        for (std::size_t g = 0; g < groups; ++g) {
            const auto first = live.begin() + g * vectors * L;
            found.live += static_cast<std::size_t>(std::count(first, first + m, 1));
        }
        return found;
    }

  private:
    std::size_t d() const { return FixedInputs ? FixedInputs : inputs; }
    std::size_t k() const { return FixedOutputs ? FixedOutputs : outputs; }
    std::size_t D() const { return d() + 1; }
    std::size_t columns() const { return k() * D(); }

    // The parameters: for each position with its own weights and each vector of neurons d() rows of w and one of −b;
    // then for each vector k() rows of v; then β [k()] and C [k(), d()].
    std::size_t group_of(std::size_t p) const { return groups == 1 ? 0 : p; }
    std::size_t weights_at(std::size_t group) const { return group * vectors * D() * L; }
    std::size_t output_weights_at() const { return weights_at(groups); }
    std::size_t tail_at() const { return output_weights_at() + vectors * k() * L; }
    std::size_t tail_size() const { return (k() + (skip ? k() * d() : 0) + L - 1) / L * L; }
    T* tail(T* from) const { return from + tail_at(); }
    const T* tail(const T* from) const { return from + tail_at(); }
    // Where a neuron's first number lies among vectors of `rows` rows.
    static std::size_t neuron(std::size_t i, std::size_t rows) { return i / L * rows * L + i % L; }

    // Samples of a tile, whole vectors of them.
    std::size_t size_of(std::size_t t) const { return std::min(tile, (n - t * tile + step - 1) / step * step); }

    // Calls `each(first, B)` for all vectors of neurons, B at a time, B known to the compiler.
    template <class Each> void blocks(Each each) const {
        std::size_t first = 0;
        for (; first + block <= vectors; first += block) each(first, std::integral_constant<int, block>{});
        switch (vectors - first) {
            case 3: each(first, std::integral_constant<int, 3>{}); break;
            case 2: each(first, std::integral_constant<int, 2>{}); break;
            case 1: each(first, std::integral_constant<int, 1>{}); break;
            default: break;
        }
    }

    // Column c of the data of a tile.
    const T* column(std::size_t t, std::size_t c) const { return X + (t * (given + 1) + c) * tile; }
    // The column of the data that is input j of a position.
    std::size_t source(std::size_t p, std::size_t j) const { return patches.empty() ? j : patches[p * d() + j]; }

    // The inputs of a position, D rows; those of a patch are gathered.
    const T* inputs_of(std::size_t t, std::size_t p) {
        if (patches.empty()) return column(t, 0);
        for (std::size_t j = 0; j < D(); ++j) {
            const T* const from = column(t, j < d() ? source(p, j) : given);
            std::copy(from, from + size_of(t), gathered + j * tile);
        }
        return gathered;
    }

    void forward(std::size_t t) {
        for (std::size_t p = 0; p < positions; ++p) {
            const T* const x = inputs_of(t, p);
            blocks([&](std::size_t first, auto B) { forward_block<decltype(B)::value>(first, x, p, size_of(t)); });
        }
    }

    // One output: with the weights scaled by v beforehand, what a neuron adds to f is its preactivation itself, and the
    // multiply-add that would weigh it becomes an addition, which other execution units do. Where some |v| is so small
    // that products with it may vanish, and with them the sign, the general form serves.
    template <int B> void forward_block(std::size_t first, const T* inputs_of, std::size_t p, std::size_t size) {
        if constexpr (V::scales) {
            if (k() == 1 && scale_block<B>(first, p)) return forward_samples<B, true>(first, inputs_of, p, size);
        }
        forward_samples<B, false>(first, inputs_of, p, size);
    }

    template <int B> bool scale_block(std::size_t first, std::size_t p) {
        bool possible = true;
        for (int b = 0; b < B; ++b) {
            const T* W = P + weights_at(group_of(p)) + (first + b) * D() * L;
            const Register v = V::load(P + output_weights_at() + (first + b) * L);
            possible = possible && V::all_at_least(v, V::load(least + (first + b) * L));
            for (std::size_t j = 0; j < D(); ++j)
                V::store(scaled + (b * D() + j) * L, V::multiply(v, V::load(W + j * L)));
        }
        return possible;
    }

    template <int B, bool Scaled>
    void forward_samples(std::size_t first, const T* __restrict const inputs_of, std::size_t p, std::size_t size) {
        const std::size_t d = this->d(), k = this->k(), stride = (d + 1) * L;
        const T* __restrict const rows = Scaled ? scaled : P + weights_at(group_of(p)) + first * stride;
        const T* __restrict const v_of = P + output_weights_at() + first * k * L;
        T* __restrict const total_of = sums;
        Stored* __restrict const on_of = masks + (p * vectors + first) * tile;
        const bool fresh = first == 0 && p == 0;
        Register v[B];
        UNROLLED for (int b = 0; b < B; ++b) v[b] = V::load(v_of + b * k * L);
        for (std::size_t s = 0; s < size; s += samples_at_once) {
            const T* __restrict const x = inputs_of + s;
            Register z[samples_at_once][B];
            UNROLLED for (int b = 0; b < B; ++b) {
                const Register bias = V::load(rows + b * stride + d * L);
                UNROLLED for (int i = 0; i < samples_at_once; ++i) z[i][b] = bias;
            }
            for (std::size_t j = 0; j < d; ++j) {
                Register w[B];
                UNROLLED for (int b = 0; b < B; ++b) w[b] = V::load(rows + b * stride + j * L);
                UNROLLED for (int i = 0; i < samples_at_once; ++i) {
                    const Register value = V::all(x[j * tile + i]);
                    UNROLLED for (int b = 0; b < B; ++b) z[i][b] = V::multiply_add(w[b], value, z[i][b]);
                }
            }
            UNROLLED for (int i = 0; i < samples_at_once; ++i) {
                Mask on[B];
                UNROLLED for (int b = 0; b < B; ++b) {
                    Register sign = z[i][b];
                    if constexpr (Scaled) sign = V::with_sign_of(sign, v[b]);
                    on[b] = V::positive(sign);
                    V::keep(on_of + b * tile + s + i, on[b]);
                }
                for (std::size_t o = 0; o < k; ++o) {
                    T* const place = total_of + (o * tile + s + i) * L;
                    Register total = fresh ? V::zero() : V::load(place);
                    UNROLLED for (int b = 0; b < B; ++b)
                        if (Scaled)
                            total = V::add_where(on[b], total, z[i][b]);
                        else
                            total = V::multiply_add_where(on[b], z[i][b], V::load(v_of + (b * k + o) * L), total);
                    V::store(place, total);
                }
            }
        }
    }

    // f of whole vectors of samples, from the sums that `forward` left.
    Register values(std::size_t t, std::size_t s, std::size_t o) const {
        const Register share = V::all(T(1) / static_cast<T>(positions));
        Register f = V::multiply_add(V::row_sums(sums + (o * tile + s) * L), share, V::all(tail(P)[o]));
        if (skip)
            for (std::size_t j = 0; j < d(); ++j)
                f = V::multiply_add(V::all(tail(P)[k() + o * d() + j]), V::load(column(t, j) + s), f);
        return f;
    }

    // The loss of a tile (not divided by n); R[o, d, s] becomes r[s, o] / (n l).
    double residuals(std::size_t t) {
        const Register scale = V::all(T(1) / static_cast<T>(n * positions));
        double total = 0;
        for (std::size_t o = 0; o < k(); ++o) {
            T* r = R + (o * D() + d()) * tile;
            Register squares = V::zero(), sum = V::zero();
            for (std::size_t s = 0, size = size_of(t); s < size; s += L) {
                const Register f = values(t, s, o), y = V::load(Y + (t * k() + o) * tile + s);
                const Register weight = V::load(column(t, given) + s);  // 0 beyond the last sample
                const Register slope = loss == Loss::squared ? V::subtract(f, y) : logistic(f, y, weight, total);
                const Register e = V::multiply(slope, weight);
                squares = V::multiply_add(e, e, squares);
                const Register scaled = V::multiply(e, scale);
                V::store(r + s, scaled);
                sum = V::add(sum, scaled);
            }
            if (loss == Loss::squared) total += 0.5 * static_cast<double>(V::sum(squares));
            tail(G)[o] += V::sum(sum) * static_cast<T>(positions);
        }
        return total;
    }

    // R[o, j, s] becomes r[s, o] x̃[s, j] / (n l) of one position; its last row is there already.
    void spread(std::size_t t, std::size_t p) {
        for (std::size_t o = 0; o < k(); ++o)
            for (std::size_t j = 0; j < d(); ++j) {
                const T* const x = column(t, source(p, j));
                const T* const r = R + (o * D() + d()) * tile;
                T* const place = R + (o * D() + j) * tile;
                for (std::size_t s = 0, size = size_of(t); s < size; s += L)
                    V::store(place + s, V::multiply(V::load(r + s), V::load(x + s)));
            }
    }

    void skip_gradient(std::size_t t) {
        for (std::size_t o = 0; o < k(); ++o)
            for (std::size_t j = 0; j < d(); ++j) {
                Register sum = V::zero();
                for (std::size_t s = 0, size = size_of(t); s < size; s += L)
                    sum = V::add(sum, V::load(R + (o * D() + j) * tile + s));
                tail(G)[k() + o * d() + j] += V::sum(sum);
            }
    }

    // Σ log(1 + exp(−y f)) goes to `total`; returns its derivative in f.
    static Register logistic(Register f, Register y, Register weight, double& total) {
        alignas(64) T fs[L], ys[L], weights[L];
        V::store(fs, f);
        V::store(ys, y);
        V::store(weights, weight);
        for (std::size_t i = 0; i < L; ++i) {
            const double margin = -static_cast<double>(ys[i]) * static_cast<double>(fs[i]);
            const double gain = std::max(margin, 0.0) + std::log1p(std::exp(-std::abs(margin)));
            total += static_cast<double>(weights[i]) * gain;
            fs[i] = static_cast<T>(-static_cast<double>(ys[i]) / (1 + std::exp(-margin)));
        }
        return V::load(fs);
    }

    void backward(std::size_t t, std::size_t p) {
        blocks([&](std::size_t first, auto B) { backward_block<decltype(B)::value>(first, t, p); });
    }

    template <int B> void backward_block(std::size_t first, std::size_t t, std::size_t p) {
        const std::size_t pieces = (columns() + columns_at_once - 1) / columns_at_once;
        for (std::size_t i = 0; i < pieces; ++i) {
            const std::size_t c = i * columns() / pieces;
            switch ((i + 1) * columns() / pieces - c) {
                case 6: backward_piece<B, 6>(first, c, t, p); break;
                case 5: backward_piece<B, 5>(first, c, t, p); break;
                case 4: backward_piece<B, 4>(first, c, t, p); break;
                case 3: backward_piece<B, 3>(first, c, t, p); break;
                case 2: backward_piece<B, 2>(first, c, t, p); break;
                default: backward_piece<B, 1>(first, c, t, p); break;
            }
        }
    }

    template <int B, int C> void backward_piece(std::size_t first, std::size_t column, std::size_t t, std::size_t p) {
        const bool fresh = t == 0 && (p == 0 || groups > 1);
        Register q[B][C];
        UNROLLED for (int b = 0; b < B; ++b)
            UNROLLED for (int c = 0; c < C; ++c) q[b][c] = V::zero();
        const Stored* on = masks + (p * vectors + first) * tile;
        const T* r = R + column * tile;
        for (std::size_t s = 0, size = size_of(t); s < size; ++s) {
            Mask active[B];
            UNROLLED for (int b = 0; b < B; ++b) active[b] = V::kept(on + b * tile + s);
            UNROLLED for (int c = 0; c < C; ++c) {
                const Register value = V::all(r[c * tile + s]);
                UNROLLED for (int b = 0; b < B; ++b)
                    q[b][c] = (b + c) % 2 ? V::fused_add_where(active[b], q[b][c], value)
                                          : V::add_where(active[b], q[b][c], value);
            }
        }
        UNROLLED for (int b = 0; b < B; ++b)
            UNROLLED for (int c = 0; c < C; ++c) {
                T* place = Q + ((group_of(p) * vectors + first + b) * columns() + column + c) * L;
                V::store(place, fresh ? q[b][c] : V::add(V::load(place), q[b][c]));
            }
    }

    // From q to the gradient of all neurons.
    void assemble() {
        for (std::size_t u = 0; u < groups * vectors; ++u) {
            const T* const p = P + u * D() * L;
            const T* const v = P + output_weights_at() + u % vectors * k() * L;
            const T* const q = Q + u * columns() * L;
            T* const g = G + u * D() * L;
            T* const gv = G + output_weights_at() + u % vectors * k() * L;
            for (std::size_t j = 0; j < D(); ++j) {
                Register total = V::zero();
                for (std::size_t o = 0; o < k(); ++o)
                    total = V::multiply_add(V::load(v + o * L), V::load(q + (o * D() + j) * L), total);
                V::store(g + j * L, total);
            }
            for (std::size_t o = 0; o < k(); ++o) {
                Register total = u < vectors ? V::zero() : V::load(gv + o * L);
                for (std::size_t j = 0; j < D(); ++j)
                    total = V::multiply_add(V::load(p + j * L), V::load(q + (o * D() + j) * L), total);
                V::store(gv + o * L, total);
            }
        }
    }

    void move(T factor, T keep) {
        const Register minus = V::all(-factor), kept = V::all(keep);
        for (std::size_t i = 0; i < P.size(); i += L)
            V::store(P + i, V::multiply_add(kept, V::load(P + i), V::multiply(minus, V::load(G + i))));
    }

    void copy_out(const T* from, Parameters<T> out) const {
        const T sign = T(-1);
        for (std::size_t i = 0; i < groups * m; ++i) {
            const T* const place = from + weights_at(i / m) + neuron(i % m, D());
            for (std::size_t j = 0; j < d(); ++j) out.w[i * d() + j] = place[j * L];
            out.b[i] = sign * place[d() * L];
        }
        for (std::size_t o = 0; o < k(); ++o)
            for (std::size_t i = 0; i < m; ++i) out.v[o * m + i] = from[output_weights_at() + neuron(i, k()) + o * L];
        std::copy(tail(from), tail(from) + k(), out.output_bias);
        if (skip) std::copy(tail(from) + k(), tail(from) + k() + k() * d(), out.skip);
    }

    void mark_live(std::size_t t, std::vector<char>& live) const {
        for (std::size_t u = 0; u < positions * vectors; ++u)
            for (std::size_t s = 0; s < size_of(t); ++s) {
                alignas(64) T ones[L];
                V::store(ones, V::add_where(V::kept(masks + u * tile + s), V::zero(), V::all(T(1))));
                for (std::size_t lane = 0; lane < L; ++lane) live[u % (groups * vectors) * L + lane] |= ones[lane] > 0;
            }
    }

    const std::size_t n, inputs, outputs, m, vectors;
    const bool skip;
    const Loss loss;
    const std::size_t given, positions, groups;  // columns of the data, patches in a sample, positions with own weights
    const std::vector<std::size_t> patches;      // columns of each position; empty where the sample is the one patch
    const std::size_t tiles;
    Aligned<T> X, Y, P, G, saved, Q;
    Aligned<Stored> masks;
    Aligned<T> sums, R, gathered, scaled, least;
};

template <class T>
std::unique_ptr<steppe::Descent<T>> made(Shape shape, Parameters<const T> from, const T* x, const T* y, Loss loss) {
    if (shape.k == 1) {
#if defined(STEPPE_AVX512) || defined(STEPPE_AVX2)
        switch (shape.d) {
            case 1: return std::make_unique<Network<T, 1, 1>>(shape, from, x, y, loss);
            case 2: return std::make_unique<Network<T, 2, 1>>(shape, from, x, y, loss);
            case 3: return std::make_unique<Network<T, 3, 1>>(shape, from, x, y, loss);
            case 4: return std::make_unique<Network<T, 4, 1>>(shape, from, x, y, loss);
            case 5: return std::make_unique<Network<T, 5, 1>>(shape, from, x, y, loss);
            default: break;
        }
#endif
        return std::make_unique<Network<T, 0, 1>>(shape, from, x, y, loss);
    }
    return std::make_unique<Network<T, 0, 0>>(shape, from, x, y, loss);
}

}  // namespace

std::unique_ptr<steppe::Descent<float>> make(Shape shape, Parameters<const float> from, const float* x, const float* y,
                                             Loss loss) {
    return made(shape, from, x, y, loss);
}
std::unique_ptr<steppe::Descent<double>> make(Shape shape, Parameters<const double> from, const double* x,
                                              const double* y, Loss loss) {
    return made(shape, from, x, y, loss);
}

}  // namespace STEPPE_ISA
