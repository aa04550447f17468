"""The agent (REFLECTOR): runs on each watched host. It needs psutil, and on Python before 3.11 tomli; it needs none of EGO's other libraries."""
