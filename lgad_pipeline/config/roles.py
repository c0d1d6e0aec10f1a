"""Names of the networks that a recipe trains."""

STUDENTS = ("student_alone", "student_lgad")
"""The student trained from labels alone, and the student that also mimics the teacher's attention."""
ROLES = ("teacher", *STUDENTS)
