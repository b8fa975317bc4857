"""Images in folders of classes; see ai8xsim.data.loaders.class_folders for the folder of data.

ai8xsim check-data networks/data/class_folders.py:CatsDogs --data pets --sheet pets.png
"""

from ai8xsim.data.loaders.class_folders import ClassFolders, class_folder_loader

datasets = [
    {
        "name": "CatsDogs",
        "input": (3, 64, 64),
        "output": ("cats", "dogs"),
        "loader": class_folder_loader(ClassFolders(("cats", "dogs"), size=64)),
    },
]
