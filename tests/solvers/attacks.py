"""Changes of a certificate or of its data after which what it claims is no longer so."""

import copy

import numpy as np

from steppe.core import InputError
from steppe.solvers import Certificate
from steppe.solvers.certificate_files import seal


def refused(document, X, y, folder, *, resealed):
    """Whether a changed document is refused, on reading or on verification; `resealed` is a careful forger."""
    import json
    import warnings

    path = folder / "attacked.json"
    path.write_text(json.dumps(document))
    try:
        certificate = Certificate.load(path)
        if resealed:
            object.__setattr__(certificate, "digest", seal(certificate))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return not certificate.verify(X, y)
    except InputError:
        return True


def _neuron(rng, doc):
    """A neuron that matters: changing one of next to no size changes nothing that is claimed."""
    sizes = np.abs(np.array(doc["network"]["v"])).max(axis=1)
    return int(rng.choice(np.flatnonzero(sizes >= 0.1 * sizes.max())))


def _factor(rng):
    return float(rng.choice([-1.0, 0.0, 0.3, 0.9, 0.99, 1.01, 1.1, 3.0]))


def perturbed_direction(rng, doc, X, y):
    w = doc["network"]["w"]
    i = _neuron(rng, doc)
    w[i][int(rng.integers(len(w[i])))] += float(rng.choice([-1, 1]) * rng.uniform(0.01, 1.0))


def perturbed_threshold(rng, doc, X, y):
    b = doc["network"]["b"]
    i = _neuron(rng, doc)
    spread = float(np.ptp(X))
    b[i] += float(rng.choice([-1, 1]) * rng.uniform(0.05, 1.0)) * spread


def perturbed_size(rng, doc, X, y):
    v = doc["network"]["v"]
    v[_neuron(rng, doc)][0] *= _factor(rng)


def perturbed_affine_part(rng, doc, X, y):
    constant = doc["network"]["constant"]
    if constant is None:
        return perturbed_size(rng, doc, X, y)
    constant[int(rng.integers(len(constant)))] += float(rng.choice([-1, 1]) * rng.uniform(0.01, 1.0) * np.std(y))
    return None


def dropped_neuron(rng, doc, X, y):
    i = _neuron(rng, doc)
    for name in ("w", "b", "v"):
        del doc["network"][name][i]


def scaled_dual(rng, doc, X, y):
    factor = float(rng.choice([-1.0, 0.0, 0.5, 0.9, 1.05, 1.5, 10.0]))
    doc["dual"]["theta"] = (factor * np.array(doc["dual"]["theta"])).tolist()


def scaled_dual_with_its_value(rng, doc, X, y):
    factor = float(rng.choice([0.0, 0.5, 0.9, 1.05, 1.5]))
    theta = np.array(doc["dual"]["theta"])
    scaled_by(doc, theta, factor * theta, y)


def scaled_by(doc, old, new, y):
    """Replace the dual point and state its true value (squared fit)."""
    doc["dual"]["theta"] = new.tolist()
    Y = np.asarray(y, dtype=float).reshape(new.shape)
    if doc["problem"]["fit"] == "squared":
        doc["claim"]["dual"] = float((new * Y).sum() - 0.5 * len(new) * np.square(new).sum())


def noisy_dual_with_its_value(rng, doc, X, y):
    theta = np.array(doc["dual"]["theta"])
    noise = rng.normal(size=theta.shape) * np.abs(theta).max() * float(rng.choice([0.1, 1.0]))
    if doc["problem"]["skip"]:
        S = np.column_stack([X, np.ones(len(X))])
        noise -= S @ np.linalg.lstsq(S, noise, rcond=None)[0]
    scaled_by(doc, theta, theta + noise, y)


def shuffled_dual(rng, doc, X, y):
    rng.shuffle(doc["dual"]["theta"])


def better_claim(rng, doc, X, y):
    name = str(rng.choice(["primal", "dual"]))
    doc["claim"][name] *= 0.9 if name == "primal" else 1.1


def both_claims_shifted(rng, doc, X, y):
    for name in ("primal", "dual"):
        doc["claim"][name] *= 0.95


def other_alpha(rng, doc, X, y):
    factor = float(rng.choice([0.5, 0.9, 0.999, 1.001, 1.1, 2.0]))
    doc["problem"]["alpha"] *= factor
    doc["claim"]["upper"] = min(doc["claim"]["upper"], doc["problem"]["alpha"])


def other_fit(rng, doc, X, y):
    if doc["problem"]["fit"] == "huber":
        doc["problem"]["fit_parameters"] = {"delta": 0.5 * doc["problem"]["fit_parameters"]["delta"]}
        return
    delta = float(0.3 * np.abs(y).max())
    doc["problem"]["fit"], doc["problem"]["fit_parameters"] = "huber", {"delta": delta}


def other_norm(rng, doc, X, y):
    doc["problem"]["bias"] = "free" if doc["problem"]["bias"] == "penalized" else "penalized"


def flipped_label(rng, doc, X, y):
    i = int(rng.integers(len(y)))
    y[i] = -y[i] if np.all(np.abs(y[i]) > 0.05 * np.abs(y).max()) else y[i] + 0.5 * np.abs(y).max()


def swapped_labels(rng, doc, X, y):
    flat = y.reshape(len(y), -1)[:, 0]
    i = int(np.argmin(flat)) if rng.random() < 0.5 else int(np.argmax(flat))
    far = np.flatnonzero(np.abs(flat - flat[i]) > 0.1 * np.ptp(flat))
    j = int(rng.choice(far))
    y[[i, j]] = y[[j, i]]


def shuffled_labels(rng, doc, X, y):
    y[:] = y[rng.permutation(len(y))]


def shifted_labels(rng, doc, X, y):
    y += 0.01 * float(np.abs(y).max())


def moved_input(rng, doc, X, y):
    X += float(rng.choice([0.02, 0.3])) * rng.normal(size=X.shape) * X.std()


def scaled_inputs(rng, doc, X, y):
    X *= float(rng.choice([0.01, 0.9, 1.1, 100.0]))


DOCUMENT = [
    perturbed_direction,
    perturbed_threshold,
    perturbed_size,
    perturbed_affine_part,
    dropped_neuron,
    scaled_dual,
    scaled_dual_with_its_value,
    noisy_dual_with_its_value,
    shuffled_dual,
    better_claim,
    both_claims_shifted,
    other_alpha,
    other_fit,
    other_norm,
]
DATA = [flipped_label, swapped_labels, shuffled_labels, shifted_labels, moved_input, scaled_inputs]


def attack(seed, document, X, y, folder):
    """One seeded attack: its name, and whether it is refused."""
    rng = np.random.default_rng(seed)
    kinds = DOCUMENT + DATA
    change = kinds[seed % len(kinds)]
    if document["problem"]["fit"] == "logistic" and change in (other_fit, shifted_labels):
        change = swapped_labels
    doc, X, y = copy.deepcopy(document), X.copy(), y.copy()
    change(rng, doc, X, y)
    return change.__name__, refused(doc, X, y, folder, resealed=True)
