"""What the command line offers, with its defaults: plain values apart from what computes, so that help and wrong usage
are told before torch is loaded."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Network:
    """A network with its data set. images, instances: test images and chip instances that a study takes unless told otherwise;
    compressed_images, compressed_instances: the same of a compression; requests: of a run's batch;
    chip: that it runs on unless told otherwise."""

    title: str
    description: str
    images: int = 1000
    instances: int = 10
    compressed_images: int = 1000
    compressed_instances: int = 10
    requests: int = 50
    chip: str = "isaac"


NETWORKS = {
    "digits": Network(
        "Digits CNN", "small CNN on scikit-learn's 1,797 real handwritten digits; trained weights ship with it, no download",
        compressed_images=360,
    ),
    "lenet5": Network(
        "LeNet-5", "LeNet-5 with trained weights, on MNIST (60,000 + 10,000 images) from --data DIR, XBAR_DATA or its official mirror",
        images=500,
    ),
    "lenet5-caffe": Network(
        "LeNet-5, 20-50-500-10", "LeNet-5 as papers on compression have it (430,500 weights), on MNIST as lenet5", images=500,
    ),
    "resnet20": Network(
        "ResNet-20", "ResNet-20 (option A) on CIFAR-10, both from --data DIR or XBAR_DATA, trained weights also from --weights",
        images=100, instances=3, compressed_images=200, compressed_instances=3,
    ),
    "vgg16": Network(
        "VGG-16", "VGG-16 with batch norm on CIFAR-10 as for resnet20, trained when first used (an hour on two cores)",
        images=100, instances=3, compressed_images=50, compressed_instances=3,
    ),
    "resnet18": Network(
        "ResNet-18", "ResNet-18 in its form for CIFAR-10, trained when first used (an hour on two cores)",
        images=100, instances=3, compressed_images=50, compressed_instances=3,
    ),
    "vit": Network(
        "Vision transformer", "small vision transformer on the same digits, with trained weights; on isaac-vector unless told otherwise",
        compressed_images=360, chip="isaac-vector",
    ),
    "rows": Network(
        "LSTM on rows", "LSTM that reads the same digits row by row, with trained weights; on isaac-vector unless told otherwise",
        compressed_images=360, chip="isaac-vector",
    ),
    "gpt": Network(
        "Character GPT", "character-level transformer on Python's own documentation, judged by bits per character, with text and trained "
        "weights; on edge unless told otherwise", images=16, instances=3, compressed_images=24, compressed_instances=3,
        requests=16, chip="edge",
    ),
}  # fmt: skip


def chip_of(workload: str | None) -> str:
    """The chip that a workload runs on unless another is named."""
    return NETWORKS[workload].chip if workload in NETWORKS else CHIPS_OF_OTHERS.get(workload or "", "isaac")


WORKLOADS = {name: network.description for name, network in NETWORKS.items()}  # judged by one metric
OTHERS = {
    "recommender": "meta-embedding recommender, on synthetic interactions, MovieLens (u.data, ratings.dat or ratings.csv in --data DIR) "
    "or a table of yours that a TOML file describes; on isaac-vector unless told otherwise",
    "fairea": "fair assignment of candidates to positions of a network: karate, davis, florentine, les-miserables, a folder with "
    "edges.csv and nodes.csv, or a GraphML file, in --data",
}  # workloads with studies of their own

CHIPS_OF_OTHERS = {"recommender": "isaac-vector"}  # which multiplies activations, as its product does

LIMITED = {"assortativity": "distance", "selection": "selection", "alone": "isolated", "ties": "degree", "cores": "core",
           "communities": "community"}  # of fairea

OWN_FILES = (".py", ".pt2", ".onnx")  # of a network of one's own


def file_of(reference: str) -> tuple[str, str]:
    """File and name of FILE.py:NAME, as in path/model.py:make; no name where none is told."""
    path, colon, name = reference.rpartition(":")
    return (path, name) if colon and path.endswith(".py") else (reference, "")


def is_own(name: str) -> bool:
    """True where a workload's name is a file of one's own."""
    return file_of(name)[0].endswith(OWN_FILES)


STUDY_REQUESTS = Network.requests  # simulated in one batch
SHARING = ("as_needed", "none", "cores", "crossbars")  # what layers share on a chip (xbar.hw.chip.placement.Sharing)
RECOMMENDER_SEEDS = 5  # trainings of each method
RECOMMENDER_CANDIDATES = 50  # scored in a request
RECOMMENDER_REQUESTS = 500  # simulated at each rate

TASKS = ("classification", "regression", "next-token")  # what a network of one's own may be asked for

TARGETS = ("area", "power", "weights")  # what a compression may be asked to leave a share of
COMPRESSION_METHODS = {"admm": "ADMM", "gradual": "gradual magnitude pruning", "magnitude": "one-shot magnitude pruning",
                       "least-squares": "one-shot pruning, weights that are left solved by least squares"}  # fmt: skip
COMPRESSION_METHOD = "least-squares"  # unless told otherwise: ahead on validation images of ResNet-20, not of digits (results/README.md)
ALLOCATIONS = ("cost-aware", "uniform")
TRAINING_OPTIONS = ("smoothing", "cutout", "small", "average", "distil", "temperature", "views", "learned", "products", "purify")
AUTO = "auto"  # bits that the search chooses; CUDA where there is one
COMPUTES = ("cpu", "cuda")  # where numbers are computed (workloads/compute.py)
TRIES = 4  # compressions that look for the strongest one at an accuracy
BEST_BITS = 8  # weights get these after compression, where the chip's have more
ASSUMED_SIGMA = 0.10  # programming error of a compression's varied chips, where the chip's own cells have none
MEMORIES = ("LPDDR4", "LPDDR", "DDR3", "HBM2", "HBM3", "HBM4")  # beside a chip that takes a network in turns
RATE = 1000.0  # inferences per second that power is told for
