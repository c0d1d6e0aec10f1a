from tests.support.frame_trees import write_tree

__all__ = ["write_tree"]
