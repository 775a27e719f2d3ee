# What the host may ask of the agent inside the guest (Kata Containers agent policy). UNTESTED ON HARDWARE.
# Part of init-data, so its digest is in HOST_DATA. Not named: refused.
package agent_policy

import rego.v1

default AllowRequestsFailingPolicy := false

# A shell inside, streams of the process, another storage or environment: never.
default ExecProcessRequest := false
default ReadStreamRequest := false
default WriteStreamRequest := false
default UpdateEphemeralMountsRequest := false
default UpdateContainerRequest := false
default SetPolicyRequest := false
default CopyFileRequest := false
default MemHotplugByProbeRequest := false
default ReseedRandomDevRequest := false
default PauseContainerRequest := false
default ResumeContainerRequest := false
default SignalProcessRequest := false

# Which container may start: none, until a rule pins the image's layers, arguments and environment (Kata's `genpolicy`
# writes it). Without one the host could start any other image in a guest whose measurement is the approved one.
default CreateContainerRequest := false

# What starting, watching and ending one pod needs.
default CreateSandboxRequest := true
default DestroySandboxRequest := true
default GetMetricsRequest := true
default GetOOMEventRequest := true
default GuestDetailsRequest := true
default ListInterfacesRequest := true
default ListRoutesRequest := true
default OnlineCPUMemRequest := true
default RemoveContainerRequest := true
default StartContainerRequest := true
default StatsContainerRequest := true
default TtyWinResizeRequest := false
default UpdateInterfaceRequest := true
default UpdateRoutesRequest := true
default WaitProcessRequest := true
