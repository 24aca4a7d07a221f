{{- /*
The beginning of a ValidatingAdmissionPolicy on AgentServices, from {root, part}; variables and validations follow.
The operator acts for whoever writes an AgentService, so the author must not gain what they could not do themselves: the
API server asks its authorizer about the person that sends the request. An edit by somebody else of an AgentService that
already has the field is let through.
*/ -}}
{{- define "operator.admissionPolicy" -}}
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata:
  name: {{ include "operator.admissionPolicyName" . }}
  labels:
    {{- include "operator.labels" .root | nindent 4 }}
spec:
  failurePolicy: Fail
  matchConstraints:
    resourceRules:
    - apiGroups: [agentservice.dev]
      apiVersions: ["*"]
      operations: [CREATE, UPDATE]
      resources: [agentservices]
{{- end }}

{{- /* What puts the policy of {root, part} in force where the operator works. */ -}}
{{- define "operator.admissionPolicyBinding" -}}
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata:
  name: {{ include "operator.admissionPolicyName" . }}
  labels:
    {{- include "operator.labels" .root | nindent 4 }}
spec:
  policyName: {{ include "operator.admissionPolicyName" . }}
  validationActions: [Deny]
  {{- with .root.Values.watchNamespaces }}
  matchResources:
    namespaceSelector:
      matchExpressions:
      - key: kubernetes.io/metadata.name
        operator: In
        values: {{ . | uniq | sortAlpha | toJson }}
  {{- end }}
{{- end }}

{{- define "operator.admissionPolicyName" -}}
{{- include "operator.fullname" .root | trunc 47 | trimSuffix "-" }}-{{ .part }}
{{- end }}
