"""Codes of pictures."""

from ai8xsim.codes.code import Code, table

ROWS = table(
    "`spec/TRAINING.md` 8",
    Code("not-an-image", "The file is no picture that can be read, or a damaged one.",
         "Pictures are read by Pillow; a picture of which a part is missing would be a sample that nobody took.",
         "Bring it anew, or give a picture such as PNG, JPEG or BMP."),
    Code("image-mode", "The picture has values of no known range.",
         "32-bit integers and floats do not say what black and white are.", "Save it with 8 or 16 bits a channel."),
    Code("image-network", "A picture does not become this network's sample, or an output no picture.",
         "A sample has 3 or 1 channels times the square of the fold ratio, and rows and columns.",
         "Give samples of other kinds as .npy; draw outputs of many channels as segments."),
    Code("image-size", "A picture is resized to less than the network takes.",
         "`--resize HxW` scales to that size, then the middle is cut out.", "Give a larger size, or `--resize fit`."),
)  # fmt: skip
