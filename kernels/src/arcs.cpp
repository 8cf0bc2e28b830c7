// The exact maximum of |g|, g(w) = Σ_i ρ_i max(z_i·w, 0), over the unit circle or sphere, compiled once per instruction set.
//
// Rows are made unit vectors u_i with weights p_i = ρ_i |z_i|. The great circles w ⊥ u_i cut the sphere into cells; on a
// cell g is linear, g(w) = q·w, so that the maximum is at a q/|q| inside its cell, on an arc, or at a vertex. On the circle
// one walk past the sorted breakpoints meets every cell. On the sphere one walk along every great circle meets every arc
// and, on both sides of it, every cell; q is updated at each breakpoint. A half turn is enough, for g(−w) belongs to
// h − q with h = Σ_i p_i u_i.
//
// A point misplaced by rounding lies within a few ulps of its circle, where it adds as much to g: degenerate data
// (equal, opposite, collinear rows) cost no more than rounding does.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <thread>

#include "sphere.hpp"

namespace STEPPE_ISA {

namespace {

using steppe::Candidate;
using steppe::Enumerated;
using steppe::Points;

constexpr double parallel = 1e-12;   // rows closer than this to ±u_i move with circle i
constexpr double outside = 1e-9;     // a candidate may lie this far outside its cell; its true value is taken anyway
constexpr std::size_t chunks = 32;   // of the walk on the circle, each with its own best candidate
constexpr std::size_t kept = 256;    // candidates that are handed back

using Three = std::array<double, 3>;

double dot(const Three& x, const Three& y) { return x[0] * y[0] + x[1] * y[1] + x[2] * y[2]; }

// Where w crosses the circle of a row: key orders by angle in [0, π), (x, y) is the unit vector there, side the sign of
// u·w just after.
struct Break {
    double key, x, y, side;
    std::uint32_t row;
};

// The breakpoint of a row whose part in the plane is (a, b), of length `size`.
Break break_of(double a, double b, double size, std::uint32_t row) {
    double x = -b / size, y = a / size, side = -1;
    if (y < 0 || (y == 0 && x < 0)) x = -x, y = -y, side = 1;
    return {x >= 0 ? y / (x + y) : 1 - x / (y - x), x, y, side, row};
}

// Best candidates, one per sign of g, of one piece of work.
struct Best {
    double value[2] = {0, 0};
    Three w[2] = {};
    double threshold(double target) const { return std::min(target, std::min(value[0], value[1])); }
    void offer(double g, const Three& at, double sign = 1) {
        const int s = g < 0;
        if (std::abs(g) > value[s]) value[s] = std::abs(g), w[s] = {sign * at[0], sign * at[1], sign * at[2]};
    }
};

// Unit rows with weights: those of the problem, or of one centre.
struct Rows {
    std::vector<Three> u;
    std::vector<double> p;
    Three h;

    Rows(const Points& points, std::size_t centre, double least) : h{0, 0, 0} {
        u.reserve(points.n), p.reserve(points.n);
        for (std::size_t i = 0; i < points.n; ++i) {
            Three row = {0, 0, 0};
            for (std::size_t j = 0; j < points.d; ++j)
                row[j] = points.z[i * points.d + j] - (points.centred ? points.z[centre * points.d + j] : 0);
            const double size = std::sqrt(dot(row, row)), weight = points.rho[i] * size;
            if (!(size > least) || weight == 0) continue;
            u.push_back({row[0] / size, row[1] / size, row[2] / size}), p.push_back(weight);
            for (int j = 0; j < 3; ++j) h[j] += weight * u.back()[j];
        }
    }

    double evaluate(const Three& w) const {
        double total = 0;
        for (std::size_t i = 0; i < p.size(); ++i) total += p[i] * std::max(0.0, dot(u[i], w));
        return total;
    }
};

// The largest |f·w| on the arc from (ax, ay) to (bx, by), f = (fx, fy); `turn` −1 where the candidate is −w.
template <class Place>
void offer_arc(Best& best, double fx, double fy, const Break& a, double bx, double by, double turn, const Place& place) {
    const double at_start = fx * a.x + fy * a.y;
    if (std::abs(at_start) > best.value[at_start < 0]) best.offer(at_start, place(a.x, a.y), turn);
    const double before = a.x * fy - a.y * fx, after = fx * by - fy * bx;
    if (before * after < 0) return;  // neither f nor −f lies in the arc
    const double size = std::hypot(fx, fy), sign = before > 0 || (before == 0 && after > 0) ? 1 : -1;
    if (size > best.value[sign < 0]) best.offer(sign * size, place(sign * fx / size, sign * fy / size), turn);
}

// The walk along circle `i` of the sphere, in the frame (e1, e2, u_i).
class Circle {
  public:
    Best best;

    // Not inlined: every thread runs the same instructions, so that the last bits agree.
    [[gnu::noinline]] void walk(const Rows& rows, std::size_t i, double target) {
        frame(rows.u[i]);
        turn(rows);
        for (const double s : {1.0, -1.0}) {  // all there is where every row moves with the circle
            const Three axis = {s * e3[0], s * e3[1], s * e3[2]};
            best.offer(rows.evaluate(axis), axis);
        }
        std::sort(breaks.begin(), breaks.end(), [](const Break& a, const Break& b) { return a.key < b.key; });
        const std::size_t m = breaks.size();
        for (std::size_t k = 0; k < m; ++k) {
            const Break &a = breaks[k], &b = breaks[k + 1 < m ? k + 1 : 0];
            const Three& u = local[a.row];
            const double step = a.side * rows.p[a.row];
            for (int j = 0; j < 3; ++j) q[j] += step * u[j];
            const double floor = best.threshold(target), square = floor * floor;
            cells(rows, a, b, k + 1 < m ? -b.side : b.side, square);
            const double turned = k + 1 < m ? 1 : -1;
            const auto place = [this](double x, double y) { return back({x, y, 0}); };
            if (q[0] * q[0] + q[1] * q[1] > square) offer_arc(best, q[0], q[1], a, turned * b.x, turned * b.y, 1, place);
            const double x = q[0] - h[0], y = q[1] - h[1];
            if (x * x + y * y > square) offer_arc(best, x, y, a, turned * b.x, turned * b.y, -1, place);
        }
    }

  private:
    Three e1, e2, e3, h, q;
    double above, below;  // what the rows that move with the circle add to q on either side of it
    std::vector<Three> local;
    std::vector<Break> breaks;

    void frame(const Three& axis) {
        e3 = axis;
        int least = 0;
        for (int j = 1; j < 3; ++j)
            if (std::abs(axis[j]) < std::abs(axis[least])) least = j;
        for (int j = 0; j < 3; ++j) e1[j] = (j == least) - axis[least] * axis[j];
        const double size = std::sqrt(dot(e1, e1));
        for (double& x : e1) x /= size;
        e2 = {e3[1] * e1[2] - e3[2] * e1[1], e3[2] * e1[0] - e3[0] * e1[2], e3[0] * e1[1] - e3[1] * e1[0]};
    }

    Three back(const Three& x) const {
        return {x[0] * e1[0] + x[1] * e2[0] + x[2] * e3[0], x[0] * e1[1] + x[1] * e2[1] + x[2] * e3[1],
                x[0] * e1[2] + x[1] * e2[2] + x[2] * e3[2]};
    }

    // Rows into the frame, their breakpoints, and q just before the first of these.
    void turn(const Rows& rows) {
        above = below = 0, q = {0, 0, 0};
        h = {dot(rows.h, e1), dot(rows.h, e2), dot(rows.h, e3)};
        local.resize(rows.u.size()), breaks.clear();
        for (std::size_t k = 0; k < rows.u.size(); ++k) {
            const Three& u = rows.u[k];
            local[k] = {dot(u, e1), dot(u, e2), dot(u, e3)};
            const double size = std::sqrt(local[k][0] * local[k][0] + local[k][1] * local[k][1]);
            if (size <= parallel) {
                (local[k][2] > 0 ? above : below) += rows.p[k] * local[k][2];
                continue;
            }
            breaks.push_back(break_of(local[k][0], local[k][1], size, static_cast<std::uint32_t>(k)));
            if (breaks.back().side < 0)
                for (int j = 0; j < 3; ++j) q[j] += rows.p[k] * local[k][j];
        }
    }

    // The four cells at the arc from a to b and at the arc opposite to it.
    void cells(const Rows& rows, const Break& a, const Break& b, double side_of_b, double square) {
        for (const double up : {1.0, -1.0}) {
            Three f = {q[0], q[1], q[2] + (up > 0 ? above : below)};
            for (const bool opposite : {false, true}) {
                if (opposite) f = {f[0] - h[0], f[1] - h[1], f[2] - h[2]};
                const double size = std::sqrt(dot(f, f));
                if (size * size <= square || size == 0) continue;
                const double edge = up * f[2], first = a.side * dot(local[a.row], f), last = side_of_b * dot(local[b.row], f);
                const double slack = outside * size;
                // f or −f may lie in the cell
                for (const double s : {1.0, -1.0})
                    if (s * edge >= -slack && s * first >= -slack && s * last >= -slack) {
                        const double scale = (opposite ? -s : s) / size;
                        const Three w = back({scale * f[0], scale * f[1], scale * f[2]});
                        best.offer(rows.evaluate(w), w);
                    }
            }
        }
    }
};

// The walk around the circle; `best` holds one entry per chunk of arcs.
void walk_plane(const Rows& rows, double target, std::vector<Best>& best) {
    std::vector<Break> breaks;
    double qx = 0, qy = 0;
    for (std::size_t k = 0; k < rows.u.size(); ++k) {
        breaks.push_back(break_of(rows.u[k][0], rows.u[k][1], 1, static_cast<std::uint32_t>(k)));
        if (breaks.back().side < 0) qx += rows.p[k] * rows.u[k][0], qy += rows.p[k] * rows.u[k][1];
    }
    std::sort(breaks.begin(), breaks.end(), [](const Break& a, const Break& b) { return a.key < b.key; });
    const std::size_t m = breaks.size();
    const auto place = [](double x, double y) { return Three{x, y, 0}; };
    for (std::size_t k = 0; k < m; ++k) {
        Best& mine = best[k * best.size() / m];
        const Break &a = breaks[k], &b = breaks[k + 1 < m ? k + 1 : 0];
        const double step = a.side * rows.p[a.row], turned = k + 1 < m ? 1 : -1;
        qx += step * rows.u[a.row][0], qy += step * rows.u[a.row][1];
        const double floor = mine.threshold(target), square = floor * floor, x = qx - rows.h[0], y = qy - rows.h[1];
        if (qx * qx + qy * qy > square) offer_arc(mine, qx, qy, a, turned * b.x, turned * b.y, 1, place);
        if (x * x + y * y > square) offer_arc(mine, x, y, a, turned * b.x, turned * b.y, -1, place);
    }
}

// One best per circle, per chunk of the circle, or (centred) per centre.
[[gnu::noinline]] Best of_centre(const Points& points, std::size_t centre, double least, double target) {
    const Rows rows(points, centre, least);
    if (points.d == 2) {
        std::vector<Best> best(1);
        walk_plane(rows, target, best);
        return best[0];
    }
    Circle circle;
    for (std::size_t i = 0; i < rows.u.size(); ++i) circle.walk(rows, i, target);
    return circle.best;
}

template <class Work> void share(std::size_t count, std::size_t threads, const Work& work) {
    std::vector<std::thread> team;
    const auto run = [&](std::size_t first) {
        for (std::size_t i = first; i < count; i += threads) work(i);
    };
    for (std::size_t t = 1; t < threads; ++t) team.emplace_back(run, t);
    run(0);
    for (std::thread& thread : team) thread.join();
}

}  // namespace

Enumerated enumerate(const Points& points, double target, std::size_t threads) {
    double largest = 0;
    for (std::size_t k = 0; k < points.n * points.d; ++k) largest = std::max(largest, std::abs(points.z[k]));
    const double least = points.centred ? 4 * std::numeric_limits<double>::epsilon() * largest : 0;
    std::vector<Best> best;
    if (points.centred) {
        best.resize(points.n);
        share(points.n, threads, [&](std::size_t j) { best[j] = of_centre(points, j, least, target); });
    } else {
        const Rows rows(points, 0, least);
        best.resize(points.d == 2 ? chunks : rows.u.size());
        if (points.d == 2) walk_plane(rows, target, best);
        else
            share(rows.u.size(), threads, [&](std::size_t i) {
                Circle circle;
                circle.walk(rows, i, target);
                best[i] = circle.best;
            });
    }
    Enumerated result{0, {}};
    for (std::size_t j = 0; j < best.size(); ++j)
        for (int s = 0; s < 2; ++s) {
            const Three& w = best[j].w[s];
            if (best[j].value[s] > 0)
                result.found.push_back({best[j].value[s], points.centred ? j : steppe::no_centre, {w[0], w[1], w[2]}});
        }
    std::stable_sort(result.found.begin(), result.found.end(),
                     [](const Candidate& a, const Candidate& b) { return a.value > b.value; });
    if (result.found.size() > kept) result.found.resize(kept);
    if (!result.found.empty()) result.value = result.found[0].value;
    return result;
}

}  // namespace STEPPE_ISA
