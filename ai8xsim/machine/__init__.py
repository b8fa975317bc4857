"""The memory level: the operations on the data memories, where each byte knows its writer."""
