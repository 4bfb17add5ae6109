"""Which stages fit into the budget."""

# Estimated seconds of each stage on an H200 at the paper's sizes, all three precisions. None was measured there. Assumed:
# 2 s for a process to start with CUDA, 1 to 3 s for NVRTC to compile a module, once, and 500 GFLOP/s of 16 CPU cores.
STAGES = {
    "doctor": 5,  # three programs that print versions
    "hopper": 70,  # 16 cases, each a process of 3 s, and 20 s of compilation
    "tiers": 60,  # 7 groups of 8 cases, 5 s each, and compilation for two tiers
    "sanitize": 300,  # 12 groups of 8 cases; the tools make kernels 10 to 100 times slower and instrument each module
    "verify": 180,  # the oracle's f64 loops at the paper's shapes on the CPU, 60 s for each precision
    "golden": 15,  # two tiny reference sets
    "train": 150,  # 256 maps, 10 s; 3 CPU steps at 3.3 TFLOP, 30 s; 12 runs of 5 to 15 s
    "generate": 40,  # 9 runs, the first of each precision with an empty cache
    "profile": 120,  # 6 runs of 20 s; they measure peaks, then pass 23 times over each network
    "peer": 300,  # seven variants of two networks; torch.compile takes 30 to 60 s for each compiled one
    "ncu": 200,  # 6 runs of about 150 launches, 0.2 s each under ncu
    "tune": 500,  # a search over some 20 products in each precision
}

# Seconds after which a run is stopped, before --cap-scale. Other stages: DEFAULT_CAP.
CAPS = {
    "hopper": 30,
    "tiers": 60,
    "sanitize": 90,
    "verify": 150,
    "train": 90,
    "peer": 240,
    "ncu": 90,
    "tune": 240,
}
DEFAULT_CAP = 60


def runs(stage, options):
    """About how many runs a stage has, if nothing fails."""
    precisions = len(options.precisions)
    fast = len([precision for precision in options.precisions if precision != "f32"])
    return {
        "doctor": 2,
        "hopper": 1 + 8 * fast,
        "tiers": 2 * precisions + 1,
        "sanitize": 3 * (precisions + fast),
        "golden": 1,
        "train": 2 + 2 * precisions * (2 if options.steps else 1),
        "generate": 1 + 3 * precisions,
        "profile": 2 * precisions,
        "peer": 4,
        "ncu": 1 + 2 * precisions,
    }.get(stage, precisions)


def estimate(stage, options):
    """Seconds, by how many precisions are asked for."""
    return STAGES[stage] * max(len(options.precisions), 1) / 3


def fitting(stages, options, left, at_least=0):
    """The stages that fit into `left` seconds, and those that are dropped from the end; `at_least` are kept anyhow."""
    kept, dropped = list(stages), []
    while len(kept) > at_least and sum(estimate(stage, options) for stage in kept) > left:
        dropped.insert(0, kept.pop())
    return kept, dropped


def table(stages, options):
    """The plan, as printed before anything runs."""
    lines, total = [f"{'stage':<10}{'runs':>6}{'seconds':>9}{'total':>8}"], 0
    for stage in stages:
        seconds = estimate(stage, options)
        total += seconds
        lines.append(f"{stage:<10}{runs(stage, options):>6}{seconds:>9.0f}{total:>8.0f}")
    return "\n".join(lines)
