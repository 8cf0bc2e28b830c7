// Branch and bound for the maximum of |g|, g(w) = Σ_i ρ_i max(z_i·w, 0), over the unit sphere, once per instruction set.
//
// On a cone K = {Σ_j α_j v_j, α ≥ 0} and for one sign of g: a row with weight of that sign adds at most
// Σ_j α_j max(a_i·v_j, 0), a row of the other sign at most −l_i a_i·w for any l_i in [0, 1] (a_i = |ρ_i| z_i). So
// g ≤ Σ_j α_j r_j with r_j = h_j − Σ_i l_i a_i·v_j, and whatever the vector u and the unit vector c with c·v_j > 0,
//
//     max of g over K and the ball  ≤  |u| + max_j (r_j − u·v_j)₊ / (v_j·c),
//
// for Σ_j α_j v_j·c ≤ |w|. c is the centroid; u is 0, or the shortest vector with u·v_j ≥ r_j, found together with l by
// a few steps of FISTA. Nothing depends on how good l and u are, only the number of cones does. Cones are taken in
// batches, worst first, and merged in order: the result does not depend on the number of threads.
#include <algorithm>
#include <cmath>
#include <thread>
#include <utility>

#include "relaxation.hpp"

namespace STEPPE_ISA {

namespace {

using steppe::Bounded;
using steppe::Candidate;
using steppe::Search;

constexpr std::size_t batch = 512, least_per_thread = 32;
constexpr std::size_t kept = 256;  // candidates in hand
constexpr double apart = 1 - 1e-6; // cosine above which two candidates are one

// All cones not yet pruned, worst first; equal bounds by age.
template <int D> class Tree {
  public:
    Tree(const Points& points, const Search& search) : points(points), search(search), rows(sorted_rows(points)), best(search.known) {
        for (std::size_t t = 0; t < std::max<std::size_t>(1, search.threads); ++t) team.emplace_back(points, rows, search.steps);
        plant();
    }

    Bounded grow() {
        std::size_t found_at = 0;
        bool stopped = false;
        while (!heap.empty() && heap.front().first > threshold() && cones < search.most_cones && !stopped) {
            std::vector<std::size_t> taken;
            while (!heap.empty() && taken.size() < batch && heap.front().first > threshold()) {
                std::pop_heap(heap.begin(), heap.end(), worse);
                taken.push_back(heap.back().second), heap.pop_back();
            }
            split(taken);
            cones += 2 * taken.size();
            if (!found.empty() && best > search.target && !found_at) found_at = cones;
            stopped = search.early && found_at && cones >= 2 * found_at;
        }
        const double open = heap.empty() ? 0 : heap.front().first;
        Bounded result{best, std::max({best, pruned, open}), cones, open <= threshold(), std::move(found)};
        std::stable_sort(result.found.begin(), result.found.end(),
                         [](const Candidate& a, const Candidate& b) { return a.value > b.value; });
        return result;
    }

  private:
    const Points& points;
    const Search& search;
    const Rows rows;
    std::vector<Worker<D>> team;
    std::vector<Cone<D>> pool;
    std::vector<std::size_t> vacant;
    std::vector<std::pair<double, std::size_t>> heap;
    std::vector<Candidate> found;
    std::vector<Split<D>> results;
    double best, pruned = 0;
    std::size_t cones = 0;

    static bool worse(const std::pair<double, std::size_t>& a, const std::pair<double, std::size_t>& b) {
        return a.first < b.first || (a.first == b.first && a.second > b.second);
    }

    double threshold() const { return std::max(search.target, best * (1 + search.precision)); }

    void plant() {
        Numbers work(rows.n);
        for (std::size_t centre = 0; centre < (points.centred ? points.n : 1); ++centre)
            for (unsigned signs = 0; signs < (search.halves ? 1u << (D - 1) : 1u << D); ++signs) {
                Cone<D> cone{std::numeric_limits<double>::infinity(), {}, {}, static_cast<std::uint32_t>(centre), 1};
                Vec<D> other;
                for (int j = 0; j < D; ++j) {
                    cone.v[j][j] = signs >> j & 1 ? -1 : 1;
                    const auto sums = team[0].halves(cone.v[j], centre, work.data());
                    cone.h[j] = sums[0], other[j] = sums[1];
                    meet(sums[0] - sums[1], cone.v[j], centre);
                }
                for (cone.sign = 1; cone.sign >= -1; cone.sign -= 2, cone.h = other) {
                    cone.bound = std::sqrt(D) * *std::max_element(cone.h.begin(), cone.h.end());
                    keep(cone);
                }
            }
    }

    void keep(const Cone<D>& cone) {
        if (cone.bound <= threshold()) {
            pruned = std::max(pruned, cone.bound);
            return;
        }
        std::size_t at = pool.size();
        if (vacant.empty()) pool.push_back(cone);
        else at = vacant.back(), vacant.pop_back(), pool[at] = cone;
        heap.emplace_back(cone.bound, at);
        std::push_heap(heap.begin(), heap.end(), worse);
    }

    void split(const std::vector<std::size_t>& taken) {
        results.resize(taken.size());
        const double limit = threshold();
        const std::size_t threads = std::max<std::size_t>(1, std::min(team.size(), taken.size() / least_per_thread));
        const auto run = [&](std::size_t t) {
            for (std::size_t i = t; i < taken.size(); i += threads) team[t].split(pool[taken[i]], limit, results[i]);
        };
        std::vector<std::thread> others;
        for (std::size_t t = 1; t < threads; ++t) others.emplace_back(run, t);
        run(0);
        for (std::thread& thread : others) thread.join();
        for (std::size_t i = 0; i < taken.size(); ++i)
            for (int k = 0; k < 3; ++k) meet(results[i].value[k], results[i].w[k], pool[taken[i]].centre);
        for (const std::size_t at : taken) vacant.push_back(at);
        for (std::size_t i = 0; i < taken.size(); ++i)
            for (const Cone<D>& child : results[i].child) keep(child);
    }

    // A point with its value: kept where it is above the target, or the best so far.
    void meet(double value, const Vec<D>& w, std::size_t centre) {
        value = std::abs(value);
        if (!(value > best || value > search.target)) return;
        best = std::max(best, value);
        const std::size_t name = points.centred ? centre : steppe::no_centre;
        Candidate* weakest = nullptr;
        for (Candidate& other : found) {
            double cosine = 0;
            for (int j = 0; j < D; ++j) cosine += other.w[j] * w[j];
            if (other.centre == name && cosine > apart) {
                if (value > other.value) other.value = value, std::copy(w.begin(), w.end(), other.w.begin());
                return;
            }
            if (!weakest || other.value < weakest->value) weakest = &other;
        }
        Candidate fresh{value, name, {}};
        std::copy(w.begin(), w.end(), fresh.w.begin());
        if (found.size() < kept) found.push_back(fresh);
        else if (value > weakest->value) *weakest = fresh;
    }
};

}  // namespace

Bounded bound(const Points& points, const Search& search) {
    switch (points.d) {
        case 2: return Tree<2>(points, search).grow();
        case 3: return Tree<3>(points, search).grow();
        case 4: return Tree<4>(points, search).grow();
        case 5: return Tree<5>(points, search).grow();
        case 6: return Tree<6>(points, search).grow();
        default: return Tree<7>(points, search).grow();
    }
}

}  // namespace STEPPE_ISA
