"""The parts of the strategy in `networks_drawn`: one file for each stage of a layer."""
