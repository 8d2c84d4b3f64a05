from .encoder import Newest
from .models import MyModel, MyTeacher

__all__ = ["MyModel", "MyTeacher", "Newest"]
