{{- define "greenroom.selector" -}}
app.kubernetes.io/name: greenroom
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "greenroom.labels" -}}
{{ include "greenroom.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
{{- end }}

{{- define "greenroom.image" -}}
{{- $repository := required "image.repository: say where the image is, such as registry.example.com/greenroom (`make image` builds it)" .Values.image.repository -}}
{{- if .Values.image.digest -}}
{{ $repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ $repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end }}

{{- define "greenroom.subject" -}}
- kind: ServiceAccount
  name: {{ .Release.Name }}
  namespace: {{ .Release.Namespace }}
{{- end }}

{{- /* What the operator needs wherever it looks for ReviewApps. Server-side apply is a patch, and a create of what is not there. */}}
{{- define "greenroom.rules" -}}
- apiGroups: [kubetempura.mercari.com]
  resources: [reviewapps]
  verbs: [get, list, watch]
- apiGroups: [kubetempura.mercari.com]
  resources: [prs]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [kubetempura.mercari.com]
  resources: [prs/status, reviewapps/status]
  verbs: [patch]
- apiGroups: [kubetempura.mercari.com]
  resources: [prs/finalizers, reviewapps/finalizers]
  verbs: [update] # to let them own something, where OwnerReferencesPermissionEnforcement is on: OpenShift
- apiGroups: [""]
  resources: [events]
  verbs: [create, patch]
{{- end }}

{{- /* Without rights in the whole cluster there is no looking at meshes and namespaces. */}}
{{- define "greenroom.gateways" -}}
{{- if and .Values.gateways.enabled (not .Values.watchNamespace) }}yes{{ end -}}
{{- end }}

{{- /* Rules for what environments usually consist of, with these verbs; and for what tells why they wait. */}}
{{- define "greenroom.environmentRules" -}}
{{- $verbs := . -}}
{{- range $group, $resources := dict
  "" (list "configmaps" "persistentvolumeclaims" "secrets" "serviceaccounts" "services")
  "apps" (list "daemonsets" "deployments" "statefulsets")
  "appmesh.k8s.aws" (list "gatewayroutes" "virtualnodes" "virtualrouters" "virtualservices")
  "autoscaling" (list "horizontalpodautoscalers")
  "batch" (list "cronjobs" "jobs")
  "gateway.networking.k8s.io" (list "httproutes")
  "networking.istio.io" (list "virtualservices")
  "networking.k8s.io" (list "ingresses" "networkpolicies")
  "policy" (list "poddisruptionbudgets")
}}
- apiGroups: [{{ $group | default "\"\"" }}]
  resources: [{{ join ", " $resources }}]
  verbs: [{{ join ", " $verbs }}]
{{- end }}
- apiGroups: [""]
  resources: [pods]
  verbs: [get, list, watch{{ if has "delete" $verbs }}, delete{{ end }}] # to replace one whose image has come
- apiGroups: [""]
  resources: [pods/log]
  verbs: [get] # the last lines are told on the pull request
- apiGroups: [apps]
  resources: [controllerrevisions, replicasets]
  verbs: [get, list, watch]
- apiGroups: [discovery.k8s.io]
  resources: [endpointslices]
  verbs: [get, list, watch]
{{- end }}

{{- /* The Secret with the credentials for GitHub, and what of it is where. */}}
{{- define "greenroom.github" -}}
{{- if and .Values.github.token.secret .Values.github.app.secret }}{{ fail "github: name either token.secret or app.secret" }}{{ end -}}
{{- if and .Values.github.app.secret (not .Values.github.app.id) }}{{ fail "github.app.id: say the App's id, or its client id" }}{{ end -}}
{{- if .Values.github.token.secret }}token{{ else if .Values.github.app.secret }}app{{ end -}}
{{- end }}
