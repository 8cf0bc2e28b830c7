// The Python module: arrays in, numbers out, the interpreter free meanwhile.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/unique_ptr.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <cstdint>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <tuple>
#include <vector>

#include "descent.hpp"
#include "sphere.hpp"

namespace nb = nanobind;
using steppe::Descent;
using steppe::Loss;
using steppe::Parameters;
using steppe::Shape;

template <class T> using Vector = nb::ndarray<T, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
template <class T> using Matrix = nb::ndarray<T, nb::ndim<2>, nb::c_contig, nb::device::cpu>;

static std::vector<std::string> instruction_sets() {
    std::vector<std::string> found;
#if defined(STEPPE_X86)
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("fma"))
        found.push_back("avx512");
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) found.push_back("avx2");
#endif
    found.push_back("plain");
    return found;
}

static void demand(bool condition, const char* message) {
    if (!condition) throw nb::value_error(message);
}

template <class T>
std::unique_ptr<Descent<T>> make(const std::string& isa, Shape shape, Parameters<const T> from, const T* x, const T* y,
                                 Loss loss) {
#if defined(STEPPE_X86)
    if (isa == "avx512") return avx512::make(shape, from, x, y, loss);
    if (isa == "avx2") return avx2::make(shape, from, x, y, loss);
#endif
    return plain::make(shape, from, x, y, loss);
}

// One network in training, with the shapes against which every array that comes in later is checked.
template <class T> class Bound {
  public:
    Bound(Matrix<const T> w, Vector<const T> b, Matrix<const T> v, Vector<const T> output_bias,
          std::optional<Matrix<const T>> skip, Matrix<const T> x, Matrix<const T> y, const std::string& loss,
          const std::optional<std::string>& instruction_set, std::optional<Matrix<const std::int64_t>> patches)
        : shape{x.shape(0), w.shape(1), v.shape(1), v.shape(0), skip.has_value(), x.shape(1),
                patches ? patches->shape(0) : 1, w.shape(0) == v.shape(1), patches ? patches->data() : nullptr} {
        demand(shape.n > 0 && shape.d > 0 && shape.m > 0 && shape.k > 0 && shape.positions > 0 && shape.inputs > 0,
               "every array must have at least one entry");
        demand(shape.shared || (patches && w.shape(0) == shape.positions * shape.m),
               "w must be [m, d] with v [k, m], or [positions * m, d] with patches");
        demand(b.shape(0) == w.shape(0), "b must have one entry for each row of w");
        demand(patches ? patches->shape(1) == shape.d && !skip : shape.d == shape.inputs,
               "w must be [m, d] and x [n, d], or patches [positions, d] without skip");
        for (std::size_t i = 0; patches && i < patches->size(); ++i)
            demand(patches->data()[i] >= 0 && patches->data()[i] < static_cast<std::int64_t>(shape.inputs),
                   "patches must name columns of x");
        demand(output_bias.shape(0) == shape.k, "output_bias must be [k]");
        demand(!skip || (skip->shape(0) == shape.k && skip->shape(1) == shape.d), "skip must be [k, d]");
        demand(y.shape(0) == shape.n && y.shape(1) == shape.k, "y must be [n, k]");
        demand(loss == "squared" || loss == "logistic", "loss must be 'squared' or 'logistic'");
        const std::vector<std::string> known = instruction_sets();
        isa = instruction_set.value_or(known.front());
        bool runs = false;
        for (const std::string& name : known) runs = runs || name == isa;
        demand(runs, "this processor does not run that instruction set");
        const Parameters<const T> from{w.data(), b.data(), v.data(), output_bias.data(), skip ? skip->data() : nullptr};
        network = make<T>(isa, shape, from, x.data(), y.data(), loss == "squared" ? Loss::squared : Loss::logistic);
    }

    double evaluate() {
        nb::gil_scoped_release free;
        return network->evaluate();
    }

    std::tuple<std::size_t, std::size_t, double> descend(std::size_t steps, double step_size, double keep, double clip,
                                                         double limit) {
        nb::gil_scoped_release free;
        const steppe::Progress done = network->descend(steps, step_size, keep, clip, limit);
        return {done.steps, done.clipped, done.loss};
    }

    std::tuple<double, std::size_t> look(std::optional<Matrix<const T>> clean) {
        demand(!clean || (clean->shape(0) == shape.n && clean->shape(1) == shape.k), "clean must be [n, k]");
        const T* data = clean ? clean->data() : nullptr;
        nb::gil_scoped_release free;
        const steppe::Look seen = network->look(data);
        return {seen.clean_error, seen.live};
    }

    void read(Matrix<T> w, Vector<T> b, Matrix<T> v, Vector<T> output_bias, std::optional<Matrix<T>> skip) {
        network->read(places(w, b, v, output_bias, skip));
    }

    void read_gradient(Matrix<T> w, Vector<T> b, Matrix<T> v, Vector<T> output_bias, std::optional<Matrix<T>> skip) {
        network->read_gradient(places(w, b, v, output_bias, skip));
    }

    const Shape shape;
    std::string isa;
    std::unique_ptr<Descent<T>> network;

  private:
    Parameters<T> places(Matrix<T>& w, Vector<T>& b, Matrix<T>& v, Vector<T>& output_bias,
                         std::optional<Matrix<T>>& skip) const {
        const std::size_t rows = shape.shared ? shape.m : shape.positions * shape.m;
        demand(w.shape(0) == rows && w.shape(1) == shape.d && b.shape(0) == rows, "w must be [m, d] and b [m]");
        demand(v.shape(0) == shape.k && v.shape(1) == shape.m, "v must be [k, m]");
        demand(output_bias.shape(0) == shape.k, "output_bias must be [k]");
        demand(skip.has_value() == shape.skip, "skip must be given exactly where the network has one");
        demand(!skip || (skip->shape(0) == shape.k && skip->shape(1) == shape.d), "skip must be [k, d]");
        return {w.data(), b.data(), v.data(), output_bias.data(), skip ? skip->data() : nullptr};
    }
};

template <class T> void bind(nb::module_& module, const char* name) {
    // No silent conversion: a copy would cost time, and of an array to be filled it would be filled instead.
    const auto array = [](const char* argument) { return nb::arg(argument).noconvert(); };
    const auto w = array("w"), b = array("b"), v = array("v"), bias = array("output_bias");
    const auto x = array("x"), y = array("y");
    const auto skip = nb::arg("skip").noconvert().none();
    using namespace nb::literals;
    nb::class_<Bound<T>>(module, name)
        .def(nb::init<Matrix<const T>, Vector<const T>, Matrix<const T>, Vector<const T>,
                      std::optional<Matrix<const T>>, Matrix<const T>, Matrix<const T>, const std::string&,
                      const std::optional<std::string>&, std::optional<Matrix<const std::int64_t>>>(),
             w, b, v, bias, skip, x, y, "loss"_a = "squared", "instruction_set"_a = nb::none(),
             nb::arg("patches").noconvert().none() = nb::none())
        .def_prop_ro("instruction_set", [](const Bound<T>& self) { return self.isa; })
        .def("evaluate", &Bound<T>::evaluate)
        .def("descend", &Bound<T>::descend, "steps"_a, "step_size"_a, "keep"_a, "clip"_a, "limit"_a)
        .def("look", &Bound<T>::look, nb::arg("clean").noconvert().none() = nb::none())
        .def("gradient_norm", [](const Bound<T>& self, double decay) { return self.network->gradient_norm(decay); })
        .def("parameter_norm", [](const Bound<T>& self) { return self.network->parameter_norm(); })
        .def("read", &Bound<T>::read, w, b, v, bias, skip)
        .def("read_gradient", &Bound<T>::read_gradient, w, b, v, bias, skip)
        .def("save", [](Bound<T>& self) { self.network->save(); })
        .def("restore", [](Bound<T>& self) { self.network->restore(); });
}

using Points = Matrix<const double>;
using Weights = Vector<const double>;
// (value, problem, w) of the points found; the problem is −1 where there is only one.
using Found = std::vector<std::tuple<double, long long, std::vector<double>>>;

static Found listed(const std::vector<steppe::Candidate>& candidates, std::size_t d) {
    Found found;
    for (const steppe::Candidate& c : candidates) {
        const long long centre = c.centre == steppe::no_centre ? -1 : static_cast<long long>(c.centre);
        found.emplace_back(c.value, centre, std::vector<double>(c.w.begin(), c.w.begin() + d));
    }
    return found;
}

static steppe::Points points_of(const Points& z, const Weights& rho, bool centred, std::size_t most) {
    demand(z.shape(0) == rho.shape(0), "z must be [n, d] and rho [n]");
    demand(z.shape(1) >= 2 && z.shape(1) <= most, "z has a number of columns that is not served");
    return {z.shape(0), z.shape(1), z.data(), rho.data(), centred};
}

template <class T> static T by_isa(T on_avx512, T on_avx2, T on_plain) {
    const std::string isa = instruction_sets().front();
    return isa == "avx512" ? on_avx512 : isa == "avx2" ? on_avx2 : on_plain;
}

#if defined(STEPPE_X86)
#define STEPPE_BEST(function) by_isa(&avx512::function, &avx2::function, &plain::function)
#else
#define STEPPE_BEST(function) (&plain::function)
#endif

static std::tuple<double, Found> enumerate_arcs(const Points& z, const Weights& rho, bool centred, double target,
                                                std::size_t threads) {
    const steppe::Points points = points_of(z, rho, centred, 3);
    steppe::Enumerated result;
    {
        nb::gil_scoped_release free;
        result = STEPPE_BEST(enumerate)(points, target, std::max<std::size_t>(1, threads));
    }
    return {result.value, listed(result.found, points.d)};
}

static std::tuple<double, double, std::size_t, bool, Found> bound_cones(const Points& z, const Weights& rho, bool centred,
                                                                        double target, double precision, double known,
                                                                        bool halves, bool early, std::size_t most_cones,
                                                                        std::size_t threads, std::size_t steps) {
    const steppe::Points points = points_of(z, rho, centred, steppe::most_dimensions);
    steppe::Bounded result;
    {
        nb::gil_scoped_release free;
        result = STEPPE_BEST(bound)(points, {target, precision, known, halves, early, most_cones, threads, steps});
    }
    return {result.lower, result.upper, result.cones, result.finished, listed(result.found, points.d)};
}

static void bind_sphere(nb::module_& module) {
    using namespace nb::literals;
    const auto z = nb::arg("z").noconvert(), rho = nb::arg("rho").noconvert();
    module.def("enumerate_arcs", &enumerate_arcs, z, rho, "centred"_a, "target"_a, "threads"_a);
    module.def("bound_cones", &bound_cones, z, rho, "centred"_a, "target"_a, "precision"_a, "known"_a, "halves"_a, "early"_a,
               "most_cones"_a, "threads"_a, "steps"_a);
}

NB_MODULE(_kernels, module) {
    bind<float>(module, "Descent32");
    bind<double>(module, "Descent64");
    bind_sphere(module);
    module.def("instruction_sets", &instruction_sets);
}
