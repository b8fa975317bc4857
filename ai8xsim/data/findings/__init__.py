"""What can be wrong with the items of a data set: one file for each kind of fault."""
